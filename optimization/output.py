"""What commands write appears whole or not at all; what cannot be written is one error with its reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from predictors.core.errors import StoreError


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn a failure of the file system into an error that names ``place``.

    Raises
    ------
    StoreError
        With the reason: no space, no permission, a file in the way.
    """
    try:
        yield
    except OSError as wrong:
        reason = wrong.strerror or wrong
        raise StoreError(f"'{place}' cannot be written: {reason}; make room there or name another folder") from wrong


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there once it is safe on disk."""
    half = path.with_name(f".{path.name}.half")
    try:
        with half.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)

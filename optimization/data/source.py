"""Bytes of a file, wherever it lies."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from urllib.parse import unquote, urlparse

from predictors.core.errors import DataError, InvalidInput, NotFound


def fetch(uri: str | os.PathLike[str]) -> tuple[str, bytes]:
    """File name and content, decompressed if it is gzip.

    Parameters
    ----------
    uri
        A path, ``file:///path`` or ``s3://bucket/key``; S3 credentials, region and endpoint come
        from the usual ``AWS_*`` variables.

    Raises
    ------
    NotFound
        If there is no such file.
    DataError
        If it cannot be read, is empty or is damaged gzip.
    InvalidInput
        For another scheme.
    StoreError
        If the object store cannot be read.
    """
    text = os.fspath(uri)
    parsed = urlparse(text)
    path = unquote(parsed.path) if parsed.scheme == "file" else text
    name = path.rstrip("/").rpartition("/")[2] or path
    if parsed.scheme == "s3":
        if not parsed.path.strip("/"):
            raise InvalidInput(f"'{text}' names no object; add its key as in s3://bucket/bars.csv")
        from predictors.store import Store  # only here, so that a file needs no object storage

        folder, _, key = text.rpartition("/")
        content = Store(folder).get(key)
    elif "://" in text and parsed.scheme != "file":
        raise InvalidInput(f"'{text}': scheme '{parsed.scheme}' is unknown; use a path, file:// or s3://")
    else:
        content = _read(Path(path).expanduser(), name)
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as wrong:
            raise DataError(f"{name}: is damaged gzip ({wrong}); compress or copy it again") from wrong
    if not content[:4096].strip():
        raise DataError(f"{name}: is empty; expected a header and at least one row of bars")
    return name, content


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as missing:
        raise NotFound(f"there is no file '{path}'") from missing
    except IsADirectoryError as folder:
        raise DataError(f"{name}: is a directory; name one CSV or Parquet file") from folder
    except OSError as wrong:
        raise DataError(f"{name}: cannot be read: {wrong.strerror}") from wrong

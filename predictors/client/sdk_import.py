"""How gRPC's messages are imported: they come with KServe's SDK, which reads the importer's command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_arguments() -> Iterator[None]:
    """Keep the program's options from the SDK, which exits over those that look like its own (``--grpc``)."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments

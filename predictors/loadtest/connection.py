"""What the generator needs of a connection, whatever the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer.

    Attributes
    ----------
    status
        ``OK``, or the kind of error: ``HTTP 503``, ``gRPC UNAVAILABLE``.
    body
        Content of an answer, or the message of an error.
    header_length
        REST: value of ``Inference-Header-Content-Length``.
    finished
        When its last byte was read, `time.monotonic` seconds.
    """

    status: str
    body: bytes
    header_length: str | None
    finished: float


class Failure(Exception):
    """No answer came; ``kind`` is one of a few words, for counting."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


CONNECT = "connect"
"""Kind of a request for which there was no connection."""
LATE = "deadline"
"""Kind of a request that was given up because its time had passed."""


class Connection(Protocol):
    """One connection with at most one request in flight."""

    @property
    def usable(self) -> bool:
        """Whether the next request may be sent on it."""

    async def exchange(self, number: int, timeout_s: float) -> Reply:
        """Send request ``number`` and wait for its answer.

        Raises
        ------
        Failure
            If none came.
        """

    async def close(self) -> None:
        """Close it."""

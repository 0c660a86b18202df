"""What load to put on a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Protocol = Literal["rest-json", "rest-binary", "grpc"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One load test.

    Attributes
    ----------
    url
        ``http://host:port`` or ``https://...``; for gRPC ``host:port`` or ``grpcs://host:port``.
    protocol
        How requests travel.
    rate_per_s
        Open loop: requests are due at fixed times, whatever the server does. ``None`` for a closed
        loop, in which each connection asks again as soon as it is answered.
    connections
        Each has one request in flight at most. A request that is due while all are busy waits for
        one, and that time counts.
    batch
        Windows in one request.
    duration_s, warmup_s
        Time that is measured, after a time that is not.
    deadline_s
        A request that is not answered this long after it was due is given up; the server is told.
    """

    url: str
    protocol: Protocol
    rate_per_s: float | None
    connections: int
    batch: int
    duration_s: float
    warmup_s: float
    deadline_s: float

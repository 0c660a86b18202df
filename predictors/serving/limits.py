"""Limits of one client: requests per second, and requests at the same time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from predictors.core.errors import RateLimited, TooManyInFlight

_MOST_CLIENTS = 10_000
_RETRY_S = 1.0


@dataclass(slots=True)
class _Client:
    tokens: float
    refilled: float
    in_flight: int = 0


class ClientLimits:
    """A token bucket and a count for each client; both are off if not set."""

    def __init__(self, rate_per_s: float | None, burst: int, in_flight: int | None) -> None:
        """Set the limits, the same for each client.

        Parameters
        ----------
        rate_per_s
            Tokens that a bucket gets each second; a request takes one.
        burst
            Tokens that a bucket holds.
        in_flight
            Most requests of a client at the same time.
        """
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._in_flight = in_flight
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    @contextmanager
    def enter(self, name: str) -> Iterator[None]:
        """Count a request of a client while it lasts.

        Raises
        ------
        RateLimited
            Over a limit; says when to come again.
        """
        if self._rate_per_s is None and self._in_flight is None:
            yield
            return
        client = self._client(name)
        if self._in_flight is not None and client.in_flight >= self._in_flight:
            raise TooManyInFlight(
                f"'{name}' has {client.in_flight} requests in flight; at most {self._in_flight} are served", _RETRY_S
            )
        if self._rate_per_s is not None:
            now = time.monotonic()
            client.tokens = min(self._burst, client.tokens + self._rate_per_s * (now - client.refilled))
            client.refilled = now
            if client.tokens < 1.0:
                raise RateLimited(
                    f"'{name}' is over {self._rate_per_s:g} requests a second (bursts of {self._burst})",
                    (1.0 - client.tokens) / self._rate_per_s,
                )
            client.tokens -= 1.0
        client.in_flight += 1
        try:
            yield
        finally:
            client.in_flight -= 1

    def _client(self, name: str) -> _Client:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client(self._burst, time.monotonic())
            if len(self._clients) > _MOST_CLIENTS:
                self._clients.popitem(last=False)  # the one that was quiet for longest: its bucket is full again
        self._clients.move_to_end(name)
        return client

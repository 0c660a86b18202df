"""HTTP/1.1 with whole requests prepared in advance: about 15 us of this process per exchange."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit

import httptools

from predictors.client.rest_wire import HEADER_LENGTH
from predictors.core.errors import InvalidInput
from predictors.loadtest.connection import CONNECT, LATE, Failure, Reply

_PORTS = {"http": 80, "https": 443}
_HEADER_LENGTH = HEADER_LENGTH.encode()


class HttpTarget:
    """Where requests go, and the requests themselves."""

    def __init__(
        self, url: str, path: str, bodies: Sequence[tuple[bytes, Mapping[str, str]]], tls: ssl.SSLContext | None
    ) -> None:
        """Prepare the requests.

        Parameters
        ----------
        url
            ``http://host:port`` or, with a context for TLS, ``https://host:port``.
        path
            Of all requests, which are POSTs.
        bodies
            Body and headers of each.

        Raises
        ------
        InvalidInput
            If the address is not understood.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname or parts.query or parts.fragment:
            raise InvalidInput(f"server '{url}' is not understood; write http://host:port or https://host:port")
        self.host, self.port, self.tls = parts.hostname, parts.port or _PORTS[parts.scheme], tls
        line = f"POST {parts.path.rstrip('/')}{path} HTTP/1.1"
        self.requests = []
        for body, headers in bodies:
            fields = {"host": parts.netloc, **headers, "content-length": str(len(body))}
            head = "\r\n".join([line, *(f"{name}: {value}" for name, value in fields.items()), "", ""])
            self.requests.append(head.encode() + body)


class HttpConnection(asyncio.Protocol):
    """One connection, kept alive as long as the server does."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self._requests = requests
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._parts: list[bytes] = []
        self._header_length: str | None = None

    @classmethod
    async def open(cls, target: HttpTarget, timeout_s: float) -> HttpConnection:
        """Connect.

        Raises
        ------
        Failure
            If the server cannot be reached.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await loop.create_connection(
                    lambda: cls(target.requests), target.host, target.port, ssl=target.tls
                )
        except TimeoutError as late:
            raise Failure(LATE, f"no connection within {timeout_s:.3g} s") from late
        except OSError as wrong:
            raise Failure(CONNECT, str(wrong)) from wrong
        return connection

    @property
    def usable(self) -> bool:
        """Whether the next request may be sent on it."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, number: int, timeout_s: float) -> Reply:
        """Send request ``number`` and wait for its answer.

        Raises
        ------
        Failure
            If none came.
        """
        if self._transport is None:
            raise Failure("connection lost", "the server closed it at once")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(self._requests[number])
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answer
        except TimeoutError as late:
            await self.close()  # HTTP/1.1 cannot take a request back
            raise Failure(LATE, f"no answer within {timeout_s:.3g} s") from late

    async def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are, and do not say so

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as wrong:
            self._fail(Failure("not HTTP", f"{wrong}; it begins with {data[:40]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight."""
        self._transport = None
        self._fail(Failure("connection lost", str(exc or "the server closed it before its answer was complete")))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one header that matters."""
        if name.lower() == _HEADER_LENGTH:
            self._header_length = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        status = self._parser.get_status_code()
        reply = Reply(
            "OK" if status == 200 else f"HTTP {status}", b"".join(self._parts), self._header_length, time.monotonic()
        )
        self._parts, self._header_length = [], None
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)

    def _fail(self, failure: Failure) -> None:
        if self._transport is not None:
            self._transport.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(failure)

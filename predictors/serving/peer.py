"""Another process of the graph: V2 REST with binary tensors over connections that are kept.

The decision record 0007 has the figures beside gRPC's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar

from predictors.core.errors import InvalidInput, WavecastError
from predictors.serving.connection import Connection, Read
from predictors.serving.replicas import Refused, Replicas
from predictors.serving.rest_message import Message, decode_response
from predictors.serving.tensors import Response

_READY_TIMEOUT_S = 1.0
_AGAIN_S = 0.05
"""Between two tries of a request whose connection is refused."""

T = TypeVar("T")


class Peer:
    """Client of one server; used on one event loop."""

    def __init__(self, address: str, retry_s: float = 0.0) -> None:
        """Connect lazily.

        Parameters
        ----------
        address
            host:port of its REST server.
        retry_s
            How long a request waits for a server that refuses the connection, before it fails.

        Raises
        ------
        InvalidInput
            If the address has no port.
        """
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise InvalidInput(f"'{address}' is no address; expected host:port")
        self._address = host.strip("[]"), int(port)
        self._host = address.encode()
        self._retry_s = retry_s

    @cached_property
    def _replicas(self) -> Replicas:
        return Replicas(*self._address)  # on first use, because it belongs to the event loop

    def infer(
        self, model: str, version: str, message: Message, timeout_s: float, read: Callable[[Response], T]
    ) -> asyncio.Future[T]:
        """One inference; sent again only if the connection was refused, so that nothing was sent before.

        Parameters
        ----------
        model, version
            What is asked.
        message
            Its body; the time that is left is one of its parameters.
        timeout_s
            How long a connection is tried for; for the answer waits who asks, and cancels it when it is late.
        read
            What is wanted of the answer; it may raise a `WavecastError`.

        Returns
        -------
        What ``read`` gives. Fails with the `WavecastError` that matches the status, or says that there is no answer.
        """
        path = b"POST /v2/models/%s/versions/%s/infer HTTP/1.1\r\nhost: %s\r\n%s\r\n"
        head = path % (model.encode(), version.encode(), self._host, message.headers)

        def decode(status: int, header_length: bytes | None, body: bytes) -> T:
            return read(decode_response(status, header_length, body))

        return self._send(head + message.body, timeout_s, decode)

    async def ready(self, model: str, version: str, timeout_s: float = _READY_TIMEOUT_S) -> bool:
        """Whether the server is there and says that the model, in this version, is ready."""
        path = b"GET /v2/models/%s/versions/%s/ready HTTP/1.1\r\nhost: %s\r\n\r\n"
        request = path % (model.encode(), version.encode(), self._host)
        try:
            async with asyncio.timeout(timeout_s):
                answer: bool = await self._send(request, timeout_s, lambda status, *_: status == 200)
                return answer
        except (WavecastError, TimeoutError):
            return False

    async def close(self) -> None:
        """Close the connections."""
        self._replicas.close()

    def _send(self, request: bytes, timeout_s: float, read: Read[T]) -> asyncio.Future[T]:
        connection: Connection[T] | None = self._replicas.free()
        if connection is not None:
            return connection.ask(request, read)
        return asyncio.ensure_future(self._connect_and_send(request, timeout_s, read))

    async def _connect_and_send(self, request: bytes, timeout_s: float, read: Read[T]) -> T:
        until = time.monotonic() + min(self._retry_s, timeout_s)
        while True:
            try:
                connection: Connection[T] = await self._replicas.connect()
                break
            except Refused:
                if time.monotonic() + _AGAIN_S > until:
                    raise
            await asyncio.sleep(_AGAIN_S)
        return await connection.ask(request, read)

"""One HTTP/1.1 connection to another process of the graph: kept alive, one request at a time, no pipelining.

Written on `httptools`, the parser that uvicorn has too, because a general client costs more than what is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import httptools

from predictors.core.errors import NotReady, WavecastError

_MOST_BYTES = 256 * 2**20
"""Of an answer: what is longer is not one of a process of ours."""
_HEADER_LENGTH = b"inference-header-content-length"

T = TypeVar("T")
Read = Callable[[int, bytes | None, bytes], T]
"""From status, header ``Inference-Header-Content-Length`` and body to what was asked for."""


class Connection(asyncio.Protocol, Generic[T]):
    """A connection that is free, or waits for one answer.

    Attributes
    ----------
    born, idle_since
        Loop time, seconds: when it was made, and when it was last free.
    lost
        Whether it is closed or of no use any more.
    """

    def __init__(self, freed: Callable[[Connection[Any]], None], gave_up: Callable[[], None]) -> None:
        """``freed`` is called when it can take another request, ``gave_up`` when an answer was waited for in vain."""
        self.born = self.idle_since = asyncio.get_running_loop().time()
        self.lost = False
        self._freed, self._gave_up = freed, gave_up
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Any] | None = None

    def ask(self, request: bytes, read: Read[T]) -> asyncio.Future[T]:
        """Send a request.

        Returns
        -------
        What ``read`` makes of the answer; failed with `NotReady` if the connection is lost before. Who cancels it
        closes the connection: an answer that nobody waits for must not be taken for the next one.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._answer, self._read = answer, read
        self._header_length: bytes | None = None
        self._parts: list[bytes] = []
        self._size = 0
        answer.add_done_callback(self._given_up)
        if self.lost:
            self._fail(NotReady("the connection was lost before the request"))
        else:
            self._transport.write(request)
        return answer

    def close(self) -> None:
        """Close it."""
        self.lost = True
        self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nothing was asked
            self._drop()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(WavecastError("the answer is not HTTP"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == len(_HEADER_LENGTH) and name.lower() == _HEADER_LENGTH:
            self._header_length = value

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._size += len(body)
        if self._size > _MOST_BYTES:
            self._fail(WavecastError(f"the answer has more than {_MOST_BYTES} bytes"))

    def on_message_complete(self) -> None:
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            self._drop()
            return
        if self._parser.should_keep_alive():
            self._freed(self)
        else:
            self.close()
        try:
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            answer.set_result(self._read(self._parser.get_status_code(), self._header_length, body))
        except Exception as wrong:  # noqa: BLE001 - who asked is told, and logs what is a defect
            answer.set_exception(wrong)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._fail(NotReady("the connection was lost before the answer"))

    def _given_up(self, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled():
            self._drop()
            self._gave_up()

    def _fail(self, wrong: WavecastError) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(wrong)
        self._drop()

    def _drop(self) -> None:
        self.lost = True
        self._transport.abort()

"""The door of the REST server: inferences are answered, and refused, in the HTTP protocol itself.

A plain inference (its length known, nothing to negotiate) needs no application: its body goes to `RestInference`, and
the reply is written from here. That spares a window the scope, the task, the events and the middleware of ASGI, which
cost about as much as its forecast. Everything else goes to the application, which has the same inferences as a route.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from predictors.core.errors import DeadlineExceeded, WavecastError
from predictors.serving.metrics import METRICS
from predictors.serving.refusals import Refusals
from predictors.serving.registry import RELEASE_HEADER
from predictors.serving.reply import BINARY, JSON, Reply, error_reply, retry_after
from predictors.serving.rest_codec import HEADER_LENGTH
from predictors.serving.rest_infer import RestCall, RestInference

_INFER = re.compile(rb"/v2/models/([\w.-]+)(?:/versions/([\w.-]+))?/infer")
_MOST_HEAD_BYTES = 64 * 1024
_MOST_DIGITS = 18
_NEGOTIATED = (b"transfer-encoding", b"content-encoding", b"expect", b"upgrade")
"""Headers that are the application's business."""
_OCTETS = {JSON.encode(): False, BINARY.encode(): True}
_FREE: AbstractContextManager[None] = nullcontext()


class _Nobody:
    """Stands for the event of uvicorn's cycle, on which nobody waits here."""

    def set(self) -> None:
        pass


class _Refused:
    """Stands for the cycle of a request that was refused: the rest of its body is ignored."""

    response_complete = True
    message_event = _Nobody()


class _Exchange:
    """Stands for the cycle of an inference that is answered here."""

    __slots__ = ("admitted", "call", "disconnected", "keep_alive", "late", "more_body", "parts", "response_complete")

    message_event = _Nobody()

    def __init__(self, call: RestCall, admitted: AbstractContextManager[None]) -> None:
        self.call = call
        self.admitted = admitted
        self.parts: list[bytes] = []
        self.more_body = True
        self.response_complete = self.disconnected = False
        self.keep_alive = True
        self.late: asyncio.TimerHandle | None = None


class _Door(HttpToolsProtocol):
    """One connection."""

    inference: RestInference
    refusals: Refusals | None
    cycle: Any
    _in_head = False
    _head_bytes = 0
    _refused = False
    _owed = False

    def data_received(self, data: bytes) -> None:
        started = time.perf_counter()
        super().data_received(data)
        if self._refused and self.refusals is not None:
            self._refused = False
            self.refusals.took(time.perf_counter() - started)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self.send_400_response(f"The head of the request has more than {_MOST_HEAD_BYTES} bytes.")
            return
        self._head_bytes = 0
        exchange = self.cycle
        if type(exchange) is _Exchange and exchange.more_body and exchange.late is None:
            exchange.late = self.loop.call_later(self.inference.intake.timeout_s, self._give_up, exchange)

    def send_400_response(self, msg: str) -> None:
        body = orjson.dumps({"error": msg})
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._owed:  # a request that was sent before the last one was answered, and that cannot be answered in turn
            self.transport.close()
            return
        asked = _INFER.fullmatch(self.url)
        if asked is None or not self._is_simple():
            super().on_headers_complete()
        elif self.refusals is not None and self.refusals.no_room():
            self._refused = self._owed = True
            self.cycle = _Refused()
            self.refusals.answer(self)
        else:
            exchange = self._open(asked[1].decode(), (asked[2] or b"").decode())
            if exchange is None:
                super().on_headers_complete()
            else:
                self.cycle = exchange

    def on_body(self, body: bytes) -> None:
        if type(self.cycle) is _Exchange and not self.cycle.response_complete:
            self.cycle.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        exchange = self.cycle
        if type(exchange) is not _Exchange or exchange.response_complete:
            super().on_message_complete()
            return
        exchange.more_body = False
        if exchange.late is not None:
            exchange.late.cancel()
        body = exchange.parts[0] if len(exchange.parts) == 1 else b"".join(exchange.parts)
        exchange.parts = []
        reply = self.inference.at_once(exchange.call, body)
        if reply is not None:
            self._answer(exchange, reply)
            return
        if self.inference.then(exchange.call, body, partial(self._answer, exchange)):
            return
        task = self.loop.create_task(self._answer_later(exchange, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        exchange = self.cycle
        if type(exchange) is _Exchange and exchange.more_body and not exchange.response_complete:
            exchange.response_complete = True
            exchange.call.this.end(None)
            self._close(exchange)

    def answer_refusal(self) -> None:
        """Write the answer, and go on with the connection."""
        self._owed = False
        if self.transport.is_closing() or self.refusals is None:
            return
        wrong = self.refusals.turns.refusal()
        METRICS.refused(wrong)
        body = orjson.dumps({"error": str(wrong)})
        self.transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
            b"retry-after: %d\r\ncontent-length: %d\r\n\r\n%s" % (retry_after(wrong), len(body), body)
        )
        self.on_response_complete()

    def wait_for_refusal(self) -> None:
        """Read no more until then."""
        self.flow.pause_reading()

    def _is_simple(self) -> bool:
        """Whether the request can be answered now, and the connection goes on afterwards."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and bool(self.parser.should_keep_alive())
        )

    def _open(self, model: str, version: str) -> _Exchange | None:
        """Begin an inference; ``None`` if there is anything in its head that is the application's business."""
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"")
        header_length = headers.get(HEADER_LENGTH.encode())
        octets = _OCTETS.get(headers.get(b"content-type", b""))
        if (
            octets is None
            or len(headers) != len(self.headers)
            or any(name in headers for name in _NEGOTIATED)
            or not 0 < len(length) <= _MOST_DIGITS
            or int(length) > self.inference.max_bytes
            or len(header_length or b"") > _MOST_DIGITS
        ):
            return None
        release = headers.get(RELEASE_HEADER.encode())
        guard, registry = self.inference.intake.guard, self.inference.registry
        try:
            found = registry.find(model, version, None if release is None else release.decode("latin-1"))
            admitted = _FREE
            if guard is not None and not guard.open:

                def header(name: str) -> str | None:
                    value = headers.get(name.encode())
                    return None if value is None else value.decode("latin-1")

                admitted = guard.enter("read", header, self.client[0] if self.client else "unknown")
                admitted.__enter__()
        except WavecastError:
            return None
        this = self.inference.intake.inference("rest", model)
        given = None if header_length is None else header_length.decode("latin-1")
        return _Exchange(RestCall(model, found, this, header_length=given, octets=octets), admitted)

    async def _answer_later(self, exchange: _Exchange, body: bytes) -> None:
        try:
            reply = await self.inference.answer(exchange.call, body)
        except BaseException:
            self._close(exchange)
            raise
        self._answer(exchange, reply)

    def _answer(self, exchange: _Exchange, reply: Reply) -> None:
        """Write the reply, and go on with the connection."""
        exchange.response_complete = True
        self._close(exchange)
        if self.transport.is_closing():
            return
        parts = [STATUS_LINE[reply.status]]
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        for key, text in reply.headers:
            parts.append(f"{key}: {text}\r\n".encode("latin-1"))
        if not exchange.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"content-type: %s\r\ncontent-length: %d\r\n\r\n" % (reply.media_type.encode(), len(reply.body)))
        parts.append(reply.body)
        self.transport.write(b"".join(parts))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _give_up(self, exchange: _Exchange) -> None:
        """Answer a request whose body does not come."""
        if exchange.response_complete or not exchange.more_body:
            return
        size = sum(map(len, exchange.parts))
        late = DeadlineExceeded(
            f"the body was not complete after {self.inference.intake.timeout_s:g} s; {size} bytes came"
        )
        exchange.keep_alive = False
        exchange.call.this.end(late)
        self._answer(exchange, error_reply(late))

    def _close(self, exchange: _Exchange) -> None:
        if exchange.late is not None:
            exchange.late.cancel()
        exchange.admitted.__exit__(None, None, None)


def door(inference: RestInference) -> type[HttpToolsProtocol]:
    """The HTTP protocol of a server that answers inferences."""
    return type("Door", (_Door,), {"inference": inference, "refusals": inference.intake.refusals})

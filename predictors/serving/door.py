"""The door of the REST server: inferences for which there is no room are refused in the HTTP protocol itself.

Under overload most requests are refused. To start a task and an application for each of them would take a tenth of
the time of an inference; written from here it is a twentieth. And clients that ask again at once must not take all
of the time with refusals: beyond a share of it they get theirs later, and ask no faster than that.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from predictors.serving.front import retry_after
from predictors.serving.metrics import METRICS
from predictors.serving.turns import Turns

_INFER = b"/infer"
_MOST_HEAD_BYTES = 64 * 1024
_SHARE = 0.15
"""Of the time that refusals may take."""
_BURST_S = 0.02
_KERNEL = 2.0
"""Time of a refusal with its system calls, in that of the part which is measured here."""
_LATER_S = 0.005


class _Refused:
    """Stands for the cycle of a request that was refused: the rest of its body is ignored."""

    response_complete = True

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


class _Refusals:
    """The time that refusals may take, and those that wait for it."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.passed = 0
        """Inferences that were let in since the loop last ran its tasks: they are not counted by `Turns` yet."""
        self._left_s = _BURST_S
        self._filled = time.monotonic()
        self._later: deque[_Door] = deque()

    def no_room(self) -> bool:
        if self.passed < self.turns.room():
            if self.passed == 0:
                asyncio.get_running_loop().call_soon(self._forget)
            self.passed += 1
            return False
        return True

    def _forget(self) -> None:
        self.passed = 0

    def answer(self, connection: _Door) -> None:
        """Answer a refused request now, or when there is time."""
        if self._time_left():
            connection.answer_refusal()
            return
        if not self._later:
            asyncio.get_running_loop().call_later(_LATER_S, self._answer_later)
        self._later.append(connection)
        connection.flow.pause_reading()

    def took(self, seconds: float) -> None:
        """Take off what a refusal took."""
        self._left_s -= _KERNEL * seconds

    def _time_left(self) -> bool:
        now = time.monotonic()
        self._left_s = min(_BURST_S, self._left_s + _SHARE * (now - self._filled))
        self._filled = now
        return self._left_s > 0.0

    def _answer_later(self) -> None:
        while self._later and self._time_left():
            started = time.perf_counter()
            self._later.popleft().answer_refusal()
            self.took(time.perf_counter() - started)
        if self._later:
            asyncio.get_running_loop().call_later(_LATER_S, self._answer_later)


class _Door(HttpToolsProtocol):
    """One connection."""

    refusals: _Refusals
    cycle: Any
    _in_head = False
    _head_bytes = 0
    _refused = False
    _owed = False

    def data_received(self, data: bytes) -> None:
        started = time.perf_counter()
        super().data_received(data)
        if self._refused:
            self._refused = False
            self.refusals.took(time.perf_counter() - started)
        if not self._in_head:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MOST_HEAD_BYTES:
            self.send_400_response(f"The head of the request has more than {_MOST_HEAD_BYTES} bytes.")

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
        elif self._may_be_refused() and self.refusals.no_room():
            self._refused = self._owed = True
            self.cycle = _Refused()
            self.refusals.answer(self)
        else:
            super().on_headers_complete()

    def answer_refusal(self) -> None:
        """Write the answer, and go on with the connection."""
        self._owed = False
        if self.transport.is_closing():
            return
        wrong = self.refusals.turns.refusal()
        METRICS.refused(wrong)
        body = orjson.dumps({"error": str(wrong)})
        self.transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
            b"retry-after: %d\r\ncontent-length: %d\r\n\r\n%s" % (retry_after(wrong), len(body), body)
        )
        self.on_response_complete()

    def _may_be_refused(self) -> bool:
        """Whether it is an inference that can be answered now, and the connection goes on afterwards."""
        return (
            self.url.endswith(_INFER)
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and bool(self.parser.should_keep_alive())
        )


def door(turns: Turns | None) -> type[HttpToolsProtocol]:
    """The HTTP protocol of a server whose inferences take ``turns``.

    Without turns, or where browsers of other origins ask (they need headers of CORS on a refusal too), it is the
    ordinary one.
    """
    if turns is None:
        return HttpToolsProtocol
    return type("Door", (_Door,), {"refusals": _Refusals(turns)})

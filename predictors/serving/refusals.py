"""Refusals of inferences for which there is no room, written by the HTTP protocol itself.

Under overload most requests are refused. To start a task and an application for each of them would take a tenth of
the time of an inference; written from here it is a twentieth. And clients that ask again at once must not take all
of the time with refusals: beyond a share of it they get theirs later, and ask no faster than that.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

from predictors.serving.turns import Turns

_SHARE = 0.15
"""Of the time that refusals may take."""
_BURST_S = 0.02
_KERNEL = 2.0
"""Time of a refusal with its system calls, in that of the part which is measured here."""
_LATER_S = 0.005


class Refusable(Protocol):
    """A connection whose request is refused."""

    def answer_refusal(self) -> None:
        """Write the answer, and go on with the connection."""

    def wait_for_refusal(self) -> None:
        """Read no more until then."""


class Refusals:
    """The time that refusals may take, and those that wait for it."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.passed = 0
        """Inferences that were let in since the loop last ran its tasks: they are not counted by `Turns` yet."""
        self._left_s = _BURST_S
        self._filled = time.monotonic()
        self._later: deque[Refusable] = deque()

    def no_room(self) -> bool:
        if self.passed < self.turns.room():
            if self.passed == 0:
                asyncio.get_running_loop().call_soon(self._forget)
            self.passed += 1
            return False
        return True

    def _forget(self) -> None:
        self.passed = 0

    def answer(self, connection: Refusable) -> None:
        """Answer a refused request now, or when there is time."""
        if self._time_left():
            connection.answer_refusal()
            return
        if not self._later:
            asyncio.get_running_loop().call_later(_LATER_S, self._answer_later)
        self._later.append(connection)
        connection.wait_for_refusal()

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

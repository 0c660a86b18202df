"""Turns: how many inferences run at once, how many wait, and which are refused because they would wait too long.

A loop that computes inline serves one request at a time whatever is admitted, and what it has not read waits where
nobody sees it. So inferences take turns: one computes, the loop reads on between two of them, those that wait are
counted, and one more is refused at once when the work ahead of it would take longer than it may wait.

How long the work ahead takes is measured as RFC 8033 (PIE), section 4.3, does: by the rate at which it leaves while
some of it waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from predictors.core.errors import DeadlineExceeded, Overloaded
from predictors.serving.metrics import METRICS

_FEWEST_WAITING = 4
"""Requests that may wait however slow the others are: an estimate alone must not refuse everything."""
_WEIGHT = 0.1
"""Of the newest measurement."""
_SHRINK, _GROW = 0.75, 0.25
"""Where deadlines are shorter than the queue, it gets shorter at once and longer by a quarter request a request."""


class Turns:
    """Turns of one kind of request, first come first served."""

    def __init__(self, width: int, most_waiting: int, max_wait_s: float, prior_s: float) -> None:
        """Set the bounds.

        Parameters
        ----------
        width
            Requests that run at the same time.
        most_waiting
            Requests that wait at most.
        max_wait_s
            Longest time that one may have to wait, in seconds, as far as can be told when it comes.
        prior_s
            What a unit of work takes before anything is measured, in seconds.
        """
        self._width = width
        self._most_waiting = most_waiting
        self._max_wait_s = max_wait_s
        self._running = 0
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()
        self._work_waiting = 0.0
        self._unit_s = prior_s
        self._left = 0.0
        self._cap = float(most_waiting)

    @property
    def wait_s(self) -> float:
        """Time that a request which comes now will wait, in seconds."""
        return self._work_waiting * self._unit_s

    def room(self) -> int:
        """How many more requests of one unit of work may come now."""
        allowed = max(_FEWEST_WAITING, min(self._cap, self._max_wait_s / self._unit_s))
        return self._width - self._running + int(allowed) - len(self._waiting)

    def take(self, work: float, deadline: float) -> _Turn:
        """A turn, as an asynchronous context manager.

        Parameters
        ----------
        work
            How much it is, in any unit.
        deadline
            `time.monotonic` seconds when the answer is worth nothing any more.

        Raises
        ------
        Overloaded
            On entering, if it would wait too long.
        DeadlineExceeded
            On entering, if its deadline passed while it waited.
        """
        return _Turn(self, work, deadline)

    def take_now(self) -> bool:
        """Take a turn for one unit of work if none has to be waited for."""
        free = self._running < self._width and not self._waiting
        self._running += free
        return free

    def leave_soon(self, started: float) -> None:
        """End a turn of `take_now`, begun at `time.perf_counter`, when the loop has read what else there is.

        So requests that came meanwhile wait their turn, where they are counted.
        """
        asyncio.get_running_loop().call_soon(self._leave, 1.0, started)

    def leave(self, started: float) -> None:
        """End a turn of `take_now`, begun at `time.perf_counter`."""
        self._leave(1.0, started)

    def refusal(self) -> Overloaded:
        """The error of a request that is refused now."""
        return Overloaded(
            f"overloaded: {len(self._waiting)} requests wait, {self.wait_s:.3f} s of work; try again later",
            max(1.0, self.wait_s),
        )

    async def _enter(self, work: float, deadline: float) -> None:
        if self._running < self._width and not self._waiting:
            self._running += 1
            return
        waiting = len(self._waiting)
        if waiting >= self._most_waiting:
            raise self.refusal()
        if waiting >= _FEWEST_WAITING:
            in_time = self.wait_s + work * self._unit_s <= deadline - time.monotonic()
            if not in_time:
                self._cap = _SHRINK * waiting
            if not in_time or self.wait_s > self._max_wait_s:
                raise self.refusal()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, work))
        self._work_waiting += work
        METRICS.waiting += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await turn
        except BaseException as wrong:
            if turn.cancelled():
                self._waiting.remove((turn, work))
                self._forget(work)
            else:
                self._pass_on()
            if isinstance(wrong, TimeoutError):
                self._cap = _SHRINK * waiting
                raise DeadlineExceeded("the deadline passed while the request waited for its turn") from None
            raise

    def _leave(self, work: float, started: float) -> None:
        now = time.perf_counter()
        # While others wait all turns are taken, so the time between two that leave is that of one request's work.
        took = now - max(started, self._left) if self._waiting else (now - started) / self._running
        self._left = now
        self._unit_s += _WEIGHT * (took / work - self._unit_s)
        self._cap = min(self._most_waiting, self._cap + _GROW)
        self._pass_on()

    def _pass_on(self) -> None:
        while self._waiting:
            turn, work = self._waiting.popleft()
            self._forget(work)
            if not turn.done():
                turn.set_result(None)
                return
        self._running -= 1

    def _forget(self, work: float) -> None:
        self._work_waiting -= work
        METRICS.waiting -= 1


class _Turn:
    __slots__ = ("_deadline", "_started", "_turns", "_work")

    def __init__(self, turns: Turns, work: float, deadline: float) -> None:
        self._turns, self._work, self._deadline = turns, work, deadline

    async def __aenter__(self) -> None:
        await self._turns._enter(self._work, self._deadline)
        self._started = time.perf_counter()

    async def __aexit__(self, *_: object) -> None:
        self._turns._leave(self._work, self._started)

"""Ask all members at once, and go on with those that answer in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from predictors.core.errors import DeadlineExceeded, NotReady, WavecastError
from predictors.core.features import FeatureBlock
from predictors.serving.metrics import METRICS

Ask = Callable[[FeatureBlock, float], Awaitable[NDArray[np.float64]]]
"""Features and a budget in seconds in, float64 (B, H) log-variances out."""

AskNow = Callable[[FeatureBlock], NDArray[np.float64]]
"""The same at once."""

MEMBERS_SHARE = 0.9
"""Of the time left that the members get; the rest is for combining and for the way back."""

_log = structlog.get_logger()


class BreakerOpen(NotReady):
    """The member was not asked, because its breaker is open."""


class _Tally:
    """How the members did in one request."""

    __slots__ = ("answers", "failed", "late", "shape", "skipped")

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.answers: dict[str, NDArray[np.float64]] = {}
        self.failed: dict[str, str] = {}
        self.late: set[str] = set()
        self.skipped: set[str] = set()

    def take(self, kind: str, result: Callable[[], NDArray[np.float64]]) -> None:
        """Note the result of a member, or why it has none."""
        try:
            self.answers[kind] = check_answer(result(), self.shape)
        except DeadlineExceeded:
            self.is_late(kind)
        except BreakerOpen as wrong:
            self.skipped.add(kind)
            self.failed[kind] = str(wrong)
        except WavecastError as wrong:
            self.failed[kind] = str(wrong)
        except asyncio.CancelledError:  # by its breaker: who waits for the request itself is not waiting here
            self.failed[kind] = "it stopped answering and its circuit breaker opened"
        except Exception as wrong:  # noqa: BLE001 - one broken member must not break the others
            _log.exception("member broke", member=kind, exc_info=wrong)
            self.failed[kind] = "internal error"

    def is_late(self, kind: str) -> None:
        self.late.add(kind)
        self.failed[kind] = "late"

    def conclude(self, min_members: int) -> dict[str, NDArray[np.float64]]:
        """The answers, if they are enough."""
        for kind in self.answers:
            METRICS.member(kind, "ok")
        if not self.failed:
            return self.answers
        for kind in self.failed:
            METRICS.member(kind, "late" if kind in self.late else "skipped" if kind in self.skipped else "failed")
        reasons = "; ".join(f"{kind}: {reason}" for kind, reason in sorted(self.failed.items()))
        _log.warning("members left out", reasons=reasons)
        good = len(self.answers)
        if good >= min_members:
            return self.answers
        message = f"{good} of {good + len(self.failed)} members answered, {min_members} needed ({reasons})"
        raise DeadlineExceeded(message) if good + len(self.late) >= min_members else NotReady(message)


Answers = dict[str, NDArray[np.float64]]
"""By kind, of the members that answered in time."""


class FanOut:
    """One request that is with the members.

    Parameters
    ----------
    asks
        How to reach each member.
    block
        Features of B windows.
    shape
        (B, H) that an answer must have.
    deadline
        `time.monotonic` seconds.
    min_members
        Fewest answers that are enough.
    done
        Called once with the answers by kind, or with why they are too few: `DeadlineExceeded` if there were enough, had
        they been in time, else `NotReady`, whose message says which failed and why.

    Raises
    ------
    DeadlineExceeded
        If the deadline has passed already; nobody is asked, and ``done`` is not called.
    """

    __slots__ = ("_asked", "_done", "_left", "_min_members", "_tally", "_timer")

    def __init__(
        self,
        asks: Mapping[str, Ask],
        block: FeatureBlock,
        shape: tuple[int, int],
        deadline: float,
        min_members: int,
        done: Callable[[Answers | WavecastError], None],
    ) -> None:
        budget = MEMBERS_SHARE * (deadline - time.monotonic())
        if budget <= 0:
            raise DeadlineExceeded("the deadline passed before the members were asked")
        self._tally = _Tally(shape)
        self._min_members = min_members
        self._done = done
        self._left = len(asks)
        self._asked = {kind: asyncio.ensure_future(ask(block, budget)) for kind, ask in asks.items()}
        self._timer = asyncio.get_running_loop().call_later(budget, self._conclude)
        for answer in self._asked.values():
            answer.add_done_callback(self._answered)

    def cancel(self) -> None:
        """Ask nobody any more."""
        self._timer.cancel()
        self._left = 0
        for answer in self._asked.values():
            answer.cancel()

    def _answered(self, answer: asyncio.Future[NDArray[np.float64]]) -> None:
        self._left -= 1
        if self._left == 0:
            self._conclude()

    def _conclude(self) -> None:
        late = [kind for kind, answer in self._asked.items() if not answer.done()]
        for kind, answer in self._asked.items():
            if kind in late:
                self._tally.is_late(kind)
            else:
                self._tally.take(kind, answer.result)
        self.cancel()
        try:
            outcome: Answers | WavecastError = self._tally.conclude(self._min_members)
        except WavecastError as wrong:
            outcome = wrong
        self._done(outcome)


async def fan_out(
    asks: Mapping[str, Ask], block: FeatureBlock, shape: tuple[int, int], deadline: float, min_members: int
) -> Answers:
    """The answers of a `FanOut`, waited for; what it would be told as not enough is raised."""
    concluded: asyncio.Future[Answers | WavecastError] = asyncio.get_running_loop().create_future()
    asked = FanOut(asks, block, shape, deadline, min_members, concluded.set_result)
    try:
        outcome = await concluded
    finally:
        asked.cancel()
    if isinstance(outcome, WavecastError):
        raise outcome
    return outcome


def ask_all_now(
    asks: Mapping[str, AskNow], block: FeatureBlock, shape: tuple[int, int], min_members: int
) -> dict[str, NDArray[np.float64]]:
    """The same of members in this process, one after the other, for a batch so small that nothing is gained by threads.

    Raises
    ------
    NotReady
        If too many failed.
    """
    tally = _Tally(shape)
    for kind, ask in asks.items():
        tally.take(kind, partial(ask, block))
    return tally.conclude(min_members)


def check_answer(answer: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """A member's answer, if it can be averaged.

    Raises
    ------
    WavecastError
        If it has another shape or datatype, or a number is not finite.
    """
    if answer.shape != shape or answer.dtype != np.float64:
        raise WavecastError(f"answered with {answer.dtype} {list(answer.shape)}; expected float64 {list(shape)}")
    if not np.isfinite(answer).all():
        raise WavecastError("answered with a non-finite log-variance")
    return answer

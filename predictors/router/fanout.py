"""Ask all members at once, and go on with those that answer in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import numpy as np
import structlog
from numpy.typing import NDArray

from predictors.core.errors import DeadlineExceeded, NotReady, WavecastError
from predictors.core.features import FeatureBlock
from predictors.serving.metrics import METRICS

Ask = Callable[[FeatureBlock, float], Awaitable[NDArray[np.float64]]]
"""Features and a budget in seconds in, float64 (B, H) log-variances out."""

MEMBERS_SHARE = 0.9
"""Of the time left that the members get; the rest is for combining and for the way back."""

_log = structlog.get_logger()


class BreakerOpen(NotReady):
    """The member was not asked, because its breaker is open."""


async def fan_out(
    asks: Mapping[str, Ask], block: FeatureBlock, shape: tuple[int, int], deadline: float, min_members: int
) -> dict[str, NDArray[np.float64]]:
    """Answers of the members that answered in time, by kind.

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

    Raises
    ------
    DeadlineExceeded
        If there were enough members, had they been in time.
    NotReady
        If too many failed; the message says which and why.
    """
    budget = MEMBERS_SHARE * (deadline - time.monotonic())
    if budget <= 0:
        raise DeadlineExceeded("the deadline passed before the members were asked")
    tasks = {kind: asyncio.ensure_future(ask(block, budget)) for kind, ask in asks.items()}
    try:
        await asyncio.wait(tasks.values(), timeout=budget)
    finally:
        late = {kind for kind, task in tasks.items() if not task.done()}
        for kind in late:
            tasks[kind].cancel()
    answers: dict[str, NDArray[np.float64]] = {}
    failed: dict[str, str] = dict.fromkeys(late, "late")
    skipped: set[str] = set()
    for kind in tasks.keys() - late:
        try:
            answers[kind] = check_answer(tasks[kind].result(), shape)
        except DeadlineExceeded:
            late.add(kind)
            failed[kind] = "late"
        except BreakerOpen as wrong:
            skipped.add(kind)
            failed[kind] = str(wrong)
        except WavecastError as wrong:
            failed[kind] = str(wrong)
        except Exception as wrong:  # noqa: BLE001 - one broken member must not break the others
            _log.exception("member broke", member=kind, exc_info=wrong)
            failed[kind] = "internal error"
    for kind in tasks:
        outcome = "ok" if kind in answers else "late" if kind in late else "skipped" if kind in skipped else "failed"
        METRICS.member(kind, outcome)
    if not failed:
        return answers
    reasons = "; ".join(f"{kind}: {reason}" for kind, reason in sorted(failed.items()))
    _log.warning("members left out", reasons=reasons)
    if len(answers) >= min_members:
        return answers
    message = f"{len(answers)} of {len(asks)} members answered, {min_members} needed ({reasons})"
    raise DeadlineExceeded(message) if len(answers) + len(late) >= min_members else NotReady(message)


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

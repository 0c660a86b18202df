"""Who takes part in an ensemble: those that answer well and in time, if they are enough."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from predictors.core.errors import DeadlineExceeded, NotReady
from predictors.core.features import FeatureBlock
from predictors.router.fanout import Ask, fan_out

BLOCK = FeatureBlock(np.zeros((2, 3), np.float32), np.zeros((2, 4, 5), np.float32), "hash", np.zeros(2, np.int64))
GOOD = np.full((2, 2), -9.0)


def _answers(value: NDArray[np.float64]) -> Ask:
    async def ask(block: FeatureBlock, timeout_s: float) -> NDArray[np.float64]:
        return value

    return ask


async def _never(block: FeatureBlock, timeout_s: float) -> NDArray[np.float64]:
    await asyncio.Event().wait()
    raise AssertionError


async def _breaks(block: FeatureBlock, timeout_s: float) -> NDArray[np.float64]:
    raise ValueError("a defect")


def _run(min_members: int, timeout_s: float, **asks: Ask) -> dict[str, NDArray[np.float64]]:
    return asyncio.run(fan_out(asks, BLOCK, (2, 2), time.monotonic() + timeout_s, min_members))


def test_all_answers_are_taken() -> None:
    assert set(_run(2, 5.0, a=_answers(GOOD), b=_answers(GOOD))) == {"a", "b"}


@pytest.mark.parametrize(
    "bad",
    [_never, _breaks, _answers(GOOD * np.nan), _answers(GOOD[:1])],
    ids=["late", "broken", "not finite", "wrong shape"],
)
def test_a_bad_member_is_left_out(bad: Ask) -> None:
    assert set(_run(1, 0.2, good=_answers(GOOD), bad=bad)) == {"good"}


def test_too_few_because_of_failures_is_not_ready() -> None:
    with pytest.raises(NotReady, match=r"1 of 2 members answered, 2 needed \(b: internal error\)"):
        _run(2, 5.0, a=_answers(GOOD), b=_breaks)


def test_too_few_because_of_the_deadline_is_deadline_exceeded() -> None:
    with pytest.raises(DeadlineExceeded, match=r"0 of 2 members answered, 1 needed \(a: internal error; b: late\)"):
        _run(1, 0.1, a=_breaks, b=_never)


def test_after_the_deadline_nobody_is_asked() -> None:
    asked: list[float] = []

    async def ask(block: FeatureBlock, timeout_s: float) -> NDArray[np.float64]:
        asked.append(timeout_s)
        return GOOD

    with pytest.raises(DeadlineExceeded):
        _run(1, -1.0, a=ask)
    assert asked == []


def test_a_late_member_is_cancelled() -> None:
    cancelled: list[bool] = []

    async def slow(block: FeatureBlock, timeout_s: float) -> NDArray[np.float64]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        raise AssertionError

    _run(1, 0.1, a=_answers(GOOD), slow=slow)
    assert cancelled == [True]

"""A breaker leaves a member alone only when the router's own probe failed, and until it succeeds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from predictors.core.errors import WavecastError
from predictors.core.features import FeatureBlock
from predictors.router.breaker import Breaker
from predictors.router.fanout import BreakerOpen

BLOCK = FeatureBlock(np.zeros((1, 3), np.float32), np.zeros((1, 4, 5), np.float32), "hash", np.zeros(1, np.int64))
GOOD = np.full((1, 2), -9.0)


class Member:
    """Answers, fails or hangs, to requests and to probes."""

    def __init__(self) -> None:
        self.fails = self.hangs = self.probe_fails = False
        self.asked = self.probed = 0

    async def ask(self, block: FeatureBlock, timeout_s: float) -> NDArray[np.float64]:
        self.asked += 1
        if self.hangs:
            await asyncio.sleep(timeout_s)
        if self.fails:
            raise WavecastError("broken")
        return GOOD

    async def probe(self) -> None:
        self.probed += 1
        if self.hangs:
            await asyncio.sleep(60)
        if self.probe_fails:
            raise WavecastError("broken")


def _run(story: Callable[[Member, Breaker, list[str]], Awaitable[None]]) -> None:
    async def tell() -> None:
        member = Member()
        states: list[str] = []
        await story(member, Breaker("m", member.ask, member.probe, states.append, 3, 0.05, 0.02), states)

    asyncio.run(tell())


async def _fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(WavecastError, match="broken"):
            await breaker(BLOCK, 1.0)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_it_opens_after_failures_in_a_row_if_the_probe_fails_too_and_closes_when_it_succeeds() -> None:
    async def story(member: Member, breaker: Breaker, states: list[str]) -> None:
        member.fails = member.probe_fails = True
        await _fail(breaker, 3)
        await _until(lambda: breaker.open)
        asked = member.asked
        with pytest.raises(BreakerOpen):
            await breaker(BLOCK, 1.0)
        assert member.asked == asked
        await _until(lambda: "half_open" in states)
        member.fails = member.probe_fails = False
        await _until(lambda: not breaker.open)
        assert await breaker(BLOCK, 1.0) is GOOD
        assert states[:2] == ["closed", "open"]
        assert states[-2:] == ["half_open", "closed"]

    _run(story)


def test_failures_that_are_not_in_a_row_do_not_even_have_it_probed() -> None:
    async def story(member: Member, breaker: Breaker, states: list[str]) -> None:
        for _ in range(4):
            member.fails = True
            await _fail(breaker, 2)
            member.fails = False
            await breaker(BLOCK, 1.0)
        await asyncio.sleep(0)
        assert (member.probed, states) == (0, ["closed"])

    _run(story)


def test_clients_that_make_a_member_fail_do_not_shut_it_out() -> None:
    """Short deadlines or odd requests only have the member probed; it passes and stays."""

    async def story(member: Member, breaker: Breaker, states: list[str]) -> None:
        member.fails = True
        await _fail(breaker, 20)
        await _until(lambda: member.probed > 0)
        await asyncio.sleep(0)
        assert not breaker.open
        assert states == ["closed"]

    _run(story)


def test_requests_that_wait_for_a_member_are_let_go_when_it_opens() -> None:
    async def story(member: Member, breaker: Breaker, states: list[str]) -> None:
        member.hangs = True
        waiting = [breaker(BLOCK, 60.0) for _ in range(3)]
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert breaker.open
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)

    _run(story)


def test_a_member_that_is_only_slow_is_waited_for() -> None:
    async def story(member: Member, breaker: Breaker, states: list[str]) -> None:
        async def probe() -> None:
            member.probed += 1

        slow = Breaker("m", member.ask, probe, states.append, 3, 0.05, 0.02)
        member.hangs = True
        assert await slow(BLOCK, 0.2) is GOOD
        assert 1 <= member.probed <= 4
        assert not slow.open

    _run(story)


def test_who_gives_up_waiting_is_cancelled_and_counted() -> None:
    async def story(member: Member, breaker: Breaker, states: list[str]) -> None:
        member.hangs = True
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await breaker(BLOCK, 60.0)
        await _until(lambda: breaker.open)

    _run(story)

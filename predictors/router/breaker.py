"""A circuit breaker before each member: one that stopped answering is left alone until it answers again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import structlog
from numpy.typing import NDArray

from predictors.core.errors import WavecastError
from predictors.core.features import FeatureBlock
from predictors.router.fanout import Ask, BreakerOpen

Probe = Callable[[], Awaitable[None]]
"""Raises if the member does not answer as it must."""

_log = structlog.get_logger()


class Breaker:
    """One member behind a breaker; it is an `Ask` itself.

    Failures in a row, or one answer that takes long, only raise a suspicion; the breaker opens when
    the router's own probe fails too. So no client opens it with short deadlines or odd requests, and
    no client waits for a probe. When it opens, requests that wait for the member go on without it.
    While it is open the probe is repeated (half-open), and the first good answer closes it.

    Attributes
    ----------
    kind
        Of the member.
    open
        Whether the member is left out.
    """

    def __init__(
        self,
        kind: str,
        ask: Ask,
        probe: Probe,
        show: Callable[[str], None],
        failures: int,
        patience_s: float,
        pause_s: float,
    ) -> None:
        """Close the breaker.

        Parameters
        ----------
        kind, ask
            The member, and how to reach it.
        probe
            What it must always answer well.
        show
            Told the state when it changes: ``closed``, ``half_open`` while it is probed, or ``open``.
        failures
            Failures in a row that raise a suspicion.
        patience_s
            An answer that takes longer raises a suspicion; a probe that takes longer has failed.
        pause_s
            Between two probes.
        """
        self.kind = kind
        self.open = False
        self._ask, self._probe, self._show = ask, probe, show
        self._limit, self._patience_s, self._pause_s = failures, patience_s, pause_s
        self._failures = 0
        self._asked: dict[asyncio.Future[NDArray[np.float64]], float] = {}
        """What waits for an answer, the oldest first, and since when (loop time, seconds)."""
        self._look: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        show("closed")

    def __call__(self, block: FeatureBlock, timeout_s: float) -> asyncio.Future[NDArray[np.float64]]:
        """Ask the member.

        Returns
        -------
        Its answer; cancelled if the breaker opens meanwhile, and failed with `BreakerOpen` if it is open.
        """
        loop = asyncio.get_running_loop()
        if self.open:
            refused: asyncio.Future[NDArray[np.float64]] = loop.create_future()
            refused.set_exception(BreakerOpen("its circuit breaker is open"))
            return refused
        answer = asyncio.ensure_future(self._ask(block, timeout_s))
        self._asked[answer] = loop.time()
        answer.add_done_callback(self._answered)
        if self._look is None:
            self._look = loop.call_later(self._patience_s, self._look_for_slow)
        return answer

    def _answered(self, answer: asyncio.Future[NDArray[np.float64]]) -> None:
        del self._asked[answer]
        if not answer.cancelled() and answer.exception() is None:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= self._limit:
            self._suspect()

    def _look_for_slow(self) -> None:
        """One timer for all that is asked: set again for the oldest that has not been answered."""
        self._look = None
        if not self._asked:
            return
        loop = asyncio.get_running_loop()
        left = next(iter(self._asked.values())) + self._patience_s - loop.time()
        if left <= 0.0:
            self._suspect()
            left = self._patience_s
        self._look = loop.call_later(left, self._look_for_slow)

    def _suspect(self) -> None:
        if self._watch is None:
            self._watch = asyncio.create_task(self._probe_until_well())

    async def _probe_until_well(self) -> None:
        while (wrong := await self._ailment()) is not None:
            if not self.open:
                self.open = True
                _log.warning("breaker opened", member=self.kind, reason=wrong)
                for answer in self._asked:
                    answer.cancel()
            self._show("open")
            await asyncio.sleep(self._pause_s)
            self._show("half_open")
        if self.open:
            self.open = False
            self._show("closed")
            _log.warning("breaker closed", member=self.kind)
        self._failures = 0
        self._watch = None

    async def _ailment(self) -> str | None:
        """What is wrong with the member, if anything."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._probe()
        except TimeoutError:
            return f"no answer in {self._patience_s:g} s"
        except WavecastError as wrong:
            return str(wrong)
        except Exception as wrong:  # noqa: BLE001 - whatever a member does, it is watched on
            _log.exception("probe broke", member=self.kind, exc_info=wrong)
            return "internal error"
        return None

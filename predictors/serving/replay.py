"""Replay of a release's golden windows, end to end through whatever answers for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from predictors.core.errors import DeadlineExceeded, NotReady
from predictors.core.golden import check_golden_answer
from predictors.serving.tensors import Response

Forecast = Callable[[NDArray[np.float64]], Awaitable[Response]]
"""Bars float64 (1, T, 5) in, forecast out."""

_RETRY_S = 0.2
_log = structlog.get_logger()


class MembersMissing(NotReady):
    """The golden windows cannot be judged yet, because members do not answer."""


async def replay_release(forecast: Forecast, golden: Mapping[str, NDArray[Any]], release: str) -> None:
    """Replay the golden windows one by one on this CPU.

    Parameters
    ----------
    forecast
        How a window is forecast.
    golden
        As `predictors.core.golden.check_golden_answer` takes them.
    release
        For the message.

    Raises
    ------
    MembersMissing
        If the full ensemble does not answer.
    NotReady
        If an answer differs by more than the tolerance.
    """
    for i, bars in enumerate(golden["bars"]):
        try:
            response = await forecast(bars[None])
        except (NotReady, DeadlineExceeded) as wrong:
            raise MembersMissing(f"release {release}: golden window {i}: {wrong}") from wrong
        if response.parameters["degraded"]:
            raise MembersMissing(f"release {release}: golden window {i} has only {response.parameters['members']}")
        check_golden_answer(response.tensors, golden, i, release)


async def replay_when_possible(
    forecast: Forecast, golden: Mapping[str, NDArray[Any]], release: str, possible: Callable[[], Awaitable[bool]]
) -> None:
    """The same where members are other processes that may still be starting: wait for them.

    Parameters
    ----------
    forecast, golden, release
        As for `replay_release`.
    possible
        Whether the other processes say that they are ready.

    Raises
    ------
    NotReady
        If an answer differs by more than the tolerance.
    """
    while True:
        if await possible():
            try:
                return await replay_release(forecast, golden, release)
            except MembersMissing as wait:
                _log.warning("waiting for members", reason=str(wait))
        await asyncio.sleep(_RETRY_S)

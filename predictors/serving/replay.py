"""Replay of a release's golden windows, end to end through whatever answers for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from predictors.core.artifact import ReleaseManifest
from predictors.core.errors import DeadlineExceeded, NotReady
from predictors.core.golden import check_golden_answer
from predictors.router.combine import combine
from predictors.serving.tensors import Response

Forecast = Callable[[NDArray[np.float64]], Awaitable[Response]]
"""Bars float64 (1, T, 5) in, forecast out."""

_RETRY_S = 0.2
_log = structlog.get_logger()


class MembersMissing(NotReady):
    """The golden windows cannot be judged yet, because members do not answer."""


async def replay_release(
    forecast: Forecast, golden: Mapping[str, NDArray[Any]], release: ReleaseManifest, *, degraded_too: bool = False
) -> None:
    """Replay the golden windows one by one on this CPU.

    Parameters
    ----------
    forecast
        How a window is forecast.
    golden
        As `predictors.core.golden.check_golden_answer` takes them.
    release
        To which they belong.
    degraded_too
        Whether an answer of some of the members will do, if it is what they answered when the release
        was made.

    Raises
    ------
    MembersMissing
        If the members that are needed do not answer.
    NotReady
        If an answer differs by more than the tolerance.
    """
    for i, bars in enumerate(golden["bars"]):
        try:
            response = await forecast(bars[None])
        except (NotReady, DeadlineExceeded) as wrong:
            raise MembersMissing(f"release {release.release}: golden window {i}: {wrong}") from wrong
        expected = golden
        if response.parameters["degraded"]:
            members = str(response.parameters["members"])
            kinds = [part.partition(":")[0] for part in members.split(",")]
            if not degraded_too or any(f"member_{kind}" not in golden for kind in kinds):
                raise MembersMissing(f"release {release.release}: golden window {i} has only {members}")
            expected = {**golden, **_expected_of(kinds, golden, release)}
        check_golden_answer(response.tensors, expected, i, release.release)


async def replay_when_possible(
    forecast: Forecast,
    golden: Mapping[str, NDArray[Any]],
    release: ReleaseManifest,
    possible: Callable[[], Awaitable[bool]],
) -> None:
    """The same where members are other processes that may still be starting, or be down.

    Parameters
    ----------
    forecast, golden, release
        As for `replay_release`.
    possible
        Whether enough of the other processes say that they are ready.

    Raises
    ------
    NotReady
        If an answer differs by more than the tolerance.
    """
    while True:
        if await possible():
            try:
                return await replay_release(forecast, golden, release, degraded_too=True)
            except MembersMissing as wait:
                _log.warning("waiting for members", reason=str(wait))
        await asyncio.sleep(_RETRY_S)


def _expected_of(
    kinds: list[str], golden: Mapping[str, NDArray[Any]], release: ReleaseManifest
) -> dict[str, NDArray[np.float64]]:
    """What some of the members together answered when the release was made."""
    forecast = combine({kind: golden[f"member_{kind}"] for kind in kinds}, release)
    return {
        "variance": forecast.variance,
        "log_variance": forecast.log_variance,
        "quantiles": forecast.quantiles,
    }

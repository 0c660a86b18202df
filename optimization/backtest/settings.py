"""What decides a backtest, and when each of its parts begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from optimization.walkforward import Schedule
from predictors.core.errors import InvalidInput

FIRST_FORECAST_BAR = 500
"""Members forecast from here on, so that ensemble and intervals have a past to learn from."""
FIRST_REPORTED_BAR = 1000
EARLIEST_REPORTED_BAR = 600
QUICK_BARS = 500
"""Origins that a quick backtest reports, and as many before them to calibrate on."""


@dataclass(frozen=True, slots=True)
class BacktestSettings:
    """What a user chooses.

    Attributes
    ----------
    proxy
        Variance proxy.
    start
        First reported origin, ISO 8601, UTC if it has no offset; ``None`` for bar 1,000.
    refit_every
        Bars between refits.
    quick
        The last 500 origins, one fit, no ablations.
    seed
        Of the learners and the bootstrap.
    """

    proxy: str = "garman_klass"
    start: str | None = None
    refit_every: int = 66
    quick: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Timeline positions that follow from the settings and the data.

    Attributes
    ----------
    schedule
        Of the members' refits.
    calibrated_at
        Where weights, smearing and subsets are refitted, ascending.
    first_reported
        First origin of the report.
    """

    schedule: Schedule
    calibrated_at: tuple[int, ...]
    first_reported: int


def make_plan(settings: BacktestSettings, timeline: NDArray[np.int64]) -> Plan:
    """Lay the settings on a timeline.

    Parameters
    ----------
    settings
        The user's choice.
    timeline
        int64 (N,): all timestamps, ns UTC.

    Raises
    ------
    InvalidInput
        If the history is too short or the start does not lie in it.
    """
    bars = len(timeline)
    if settings.refit_every < 1:
        raise InvalidInput(f"--refit-every is {settings.refit_every}; it must be at least 1 bar")
    if settings.quick:
        if settings.start is not None:
            raise InvalidInput("--quick reports the last 500 origins; it cannot be combined with --start")
        least = FIRST_FORECAST_BAR + 2 * QUICK_BARS
        if bars < least:
            raise InvalidInput(f"the data has {bars} bars; a quick backtest needs at least {least}")
        first = bars - QUICK_BARS
        return Plan(Schedule(first - QUICK_BARS, 2 * QUICK_BARS), (first,), first)
    first = FIRST_REPORTED_BAR
    if settings.start is not None:
        first = int(np.searchsorted(timeline // 1000, _microseconds(settings.start)))
        if first < EARLIEST_REPORTED_BAR:
            raise InvalidInput(
                f"--start {settings.start} leaves {first} bars before it; at least {EARLIEST_REPORTED_BAR} are needed"
            )
    if bars < first + QUICK_BARS // 5:
        since = f"from --start {settings.start} on" if settings.start else f"after the first {first}"
        raise InvalidInput(
            f"the data has {bars} bars, so {max(bars - first, 0)} origins to report; at least {QUICK_BARS // 5} are "
            f"needed {since}"
        )
    schedule = Schedule(FIRST_FORECAST_BAR, settings.refit_every)
    return Plan(schedule, tuple(schedule.refits(bars - 1)), first)


def _microseconds(start: str) -> int:
    """Since the epoch, of an ISO date or time."""
    try:
        time = datetime.fromisoformat(start)
    except ValueError as wrong:
        raise InvalidInput(f"--start '{start}' is not a date; write it as YYYY-MM-DD") from wrong
    utc = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

"""When a backtest begins, refits and reports; and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from optimization.backtest.settings import BacktestSettings, make_plan
from predictors.core.errors import InvalidInput

DAY_NS = 86_400_000_000_000
TIMELINE = np.arange(2000) * DAY_NS  # from 1970-01-01


def test_default_reports_from_bar_1000_whatever_the_length() -> None:
    for bars in (1500, 2000):
        plan = make_plan(BacktestSettings(), TIMELINE[:bars])
        assert plan.first_reported == 1000
        assert plan.schedule.first_origin == plan.calibrated_at[0] == 500
        assert set(np.diff(plan.calibrated_at)) == {66}


def test_a_start_date_moves_the_report_and_nothing_else() -> None:
    plan, default = make_plan(BacktestSettings(start="1972-01-01"), TIMELINE), make_plan(BacktestSettings(), TIMELINE)
    assert plan.first_reported == 730
    assert (plan.schedule, plan.calibrated_at) == (default.schedule, default.calibrated_at)


def test_a_start_between_bars_takes_the_next_bar() -> None:
    assert make_plan(BacktestSettings(start="1972-01-01T12:00"), TIMELINE).first_reported == 731


def test_quick_fits_once_and_calibrates_on_the_500_origins_before_the_report() -> None:
    plan = make_plan(BacktestSettings(quick=True), TIMELINE)
    assert list(plan.schedule.refits(1999)) == [1000]
    assert plan.calibrated_at == (1500,)
    assert plan.first_reported == 1500


@pytest.mark.parametrize(
    ("settings", "bars", "message"),
    [
        (BacktestSettings(), 1050, "has 1050 bars, so 50 origins to report; at least 100"),
        (BacktestSettings(), 900, "has 900 bars, so 0 origins to report"),
        (BacktestSettings(quick=True), 1400, "a quick backtest needs at least 1500"),
        (BacktestSettings(start="1971-01-01"), 2000, "leaves 365 bars before it; at least 600"),
        (BacktestSettings(start="1999-01-01"), 2000, "so 0 origins to report"),
        (BacktestSettings(start="soon"), 2000, "'soon' is not a date"),
        (BacktestSettings(start="1972-01-01", quick=True), 2000, "cannot be combined with --start"),
        (BacktestSettings(refit_every=0), 2000, "it must be at least 1 bar"),
    ],
)
def test_impossible_settings_are_refused_with_the_rule(settings: BacktestSettings, bars: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make_plan(settings, TIMELINE[:bars])

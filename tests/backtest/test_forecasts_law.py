"""The law of the backtest: a forecast is the same bytes whatever bars come after its origin."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from optimization.backtest.engine import BacktestResult, run_backtest
from optimization.backtest.forecasts import forecasts_csv
from optimization.backtest.settings import BacktestSettings
from optimization.data.bars import BarSeries, BarTable, bar_table, time_text
from optimization.data.demo import demo_bars
from optimization.parallel import progress_bar

pytestmark = pytest.mark.xdist_group("backtest_law")

FIRST, LAST, END = 620, 730, 760
"""First origin, the origin t up to which forecasts are compared, and the end of the whole history."""
Line = dict[str, str]


@pytest.fixture(scope="module")
def panel() -> BarTable:
    """Two real symbols; the second begins 250 bars later and so has a shorter history."""
    nasdaq, sp500 = (demo_bars(name).series[0] for name in ("nasdaq", "sp500"))
    return bar_table([_cut(nasdaq, 2200, 2200 + END), _cut(sp500, 2450, 2200 + END)], "panel")


def _cut(series: BarSeries, start: int, end: int) -> BarSeries:
    return BarSeries(series.symbol, series.timestamps[start:end], series.bars[start:end], None)


def _changed(panel: BarTable, change: Callable[[BarSeries, int], BarSeries]) -> BarTable:
    """Change every series after t; the function is told how many of its bars are not later."""
    t = panel.series[0].timestamps[LAST]
    return bar_table([change(one, int((one.timestamps <= t).sum())) for one in panel.series], "panel")


def _wild(series: BarSeries, known: int) -> BarSeries:
    """Bars of no market, a tenth up or down each, and any volume."""
    random = np.random.default_rng(7)
    count = len(series.bars) - known
    prices = 50.0 * np.exp(np.cumsum(random.normal(0.0, 0.1, count)))[:, None]
    low, first, second, high = np.sort(prices * np.exp(random.normal(0.0, 0.1, (count, 4))), axis=1).T
    wild = np.column_stack([first, high, low, second, np.exp(random.normal(0.0, 5.0, count))])
    return BarSeries(series.symbol, series.timestamps, np.concatenate([series.bars[:known], wild]), None)


def _walk(table: BarTable, folder: Path) -> tuple[BacktestResult, list[Line]]:
    settings = BacktestSettings(start=time_text(table.series[0].timestamps[FIRST]))
    result = run_backtest(table, settings, folder, progress_bar(enabled=False))
    return result, list(csv.DictReader(io.StringIO(forecasts_csv(result, table).decode())))


@pytest.fixture(scope="module")
def whole(panel: BarTable, tmp_path_factory: pytest.TempPathFactory) -> tuple[BacktestResult, list[Line]]:
    return _walk(panel, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "change",
    [pytest.param(lambda s, n: _cut(s, 0, n + 3), id="ends three bars later"), pytest.param(_wild, id="goes wild")],
)
def test_forecasts_up_to_t_are_the_same_bytes_whatever_follows(
    panel: BarTable,
    whole: tuple[BacktestResult, list[Line]],
    change: Callable[[BarSeries, int], BarSeries],
    tmp_path: Path,
) -> None:
    t = time_text(panel.series[0].timestamps[LAST])
    result, lines = whole
    other_result, others = _walk(_changed(panel, change), tmp_path)
    past, again = ([line for line in some if line["timestamp"] <= t] for some in (lines, others))
    assert len(past) == len(again) > 5000
    assert any(line["timestamp"] > t for line in others)
    # best_har is chosen with hindsight: what may change is which fit it is, never the fit.
    for one, two in zip(past, again, strict=True):
        if one["model"] != "best_har":
            assert {**one, "realised": ""} == {**two, "realised": ""}
    for found, some in ((result, past), (other_result, again)):
        by_key = {
            (line["timestamp"], line["horizon"], line["symbol"], line["model"]): line["variance"] for line in some
        }
        for (stamp, horizon, symbol, model), variance in by_key.items():
            if model == "best_har":
                fit = "har_" + found.winners[f"{symbol}_{horizon}"]
                assert variance == by_key[stamp, horizon, symbol, fit]
    _same_outcomes_where_they_were_known(panel, past, again)


def _same_outcomes_where_they_were_known(panel: BarTable, past: list[Line], again: list[Line]) -> None:
    stamps = {time_text(stamp): bar for bar, stamp in enumerate(panel.series[0].timestamps)}
    known = 0
    for one, two in zip(past, again, strict=True):
        if stamps[one["timestamp"]] + int(one["horizon"]) <= LAST:
            assert one["realised"] == two["realised"] != ""
            known += 1
    assert known > 5000


def test_a_symbol_is_reported_once_its_own_history_can_carry_the_baselines(
    panel: BarTable, whole: tuple[BacktestResult, list[Line]]
) -> None:
    _, lines = whole
    first = {
        symbol: min(line["timestamp"] for line in lines if line["symbol"] == symbol) for symbol in ("nasdaq", "sp500")
    }
    assert first == {
        one.symbol: time_text(one.timestamps[{"nasdaq": FIRST, "sp500": FIRST - 250}[one.symbol]])
        for one in panel.series
    }
    assert all(float(line["variance"]) > 0.0 for line in lines)
    order = [(line["timestamp"], line["symbol"], int(line["horizon"])) for line in lines]
    assert order == sorted(order)


def test_the_weights_follow_what_had_matured(whole: tuple[BacktestResult, list[Line]]) -> None:
    result, _ = whole
    weights: list[NDArray[np.float64]] = [np.array(list(one.values())) for _, one in result.weights]
    assert all(one.sum() == pytest.approx(1.0) and (one > 0.0).all() for one in weights)
    assert len({one.tobytes() for one in weights}) == len(weights) > 2

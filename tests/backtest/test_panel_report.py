"""A difficult panel: poor bars, short and ended symbols, a symbol without outcomes, bars within the day."""

from __future__ import annotations

import csv
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optimization.backtest.settings import BacktestSettings
from optimization.backtest.write import write_backtest
from optimization.data.bars import BarSeries, BarTable, bar_table
from optimization.data.demo import demo_bars
from optimization.parallel import progress_bar
from predictors.core.errors import InvalidInput

pytestmark = pytest.mark.xdist_group("backtest_panel")

HOUR_NS = 3_600_000_000_000
FIRST, BARS = 640, 760


def _series(symbol: str, start: int, end: int, flat: range = range(0)) -> BarSeries:
    """Real bars, moved to the hours start..end of one timeline; the hours of ``flat`` have no range at all."""
    bars = demo_bars("nasdaq").series[0].bars[2000 + start : 2000 + end].copy()
    for hour in flat:
        bars[hour - start, :4] = bars[hour - start - 1, 3]
    stamps = np.int64(1_500_000_000) * 10**9 + HOUR_NS * np.arange(start, end)
    return BarSeries(symbol, stamps, bars, None)


@pytest.fixture(scope="module")
def panel() -> BarTable:
    return bar_table(
        [
            _series("LONG", 0, BARS, flat=range(200, 250)),
            _series("NEW", 440, BARS),
            _series("NEWER, INC", 600, BARS),
            _series("ENDED", 0, 560),
            _series("STILL", 100, FIRST + 50, flat=range(FIRST, FIRST + 50)),
        ],
        "panel",
    )


@pytest.fixture(scope="module")
def written(panel: BarTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("panel") / "out"
    start = str(np.datetime64(int(panel.series[1].timestamps[FIRST]), "ns"))
    assert panel.series[1].symbol == "LONG"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_backtest(panel, BacktestSettings(start=start), out, progress_bar(enabled=False))
    return out


@pytest.fixture(scope="module")
def report(written: Path) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((written / "report.json").read_bytes(), parse_constant=refuse)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def lines(written: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((written / "forecasts.csv").read_text().splitlines()))


def test_every_reported_origin_has_a_forecast_of_every_model_and_times_within_the_day(
    lines: list[dict[str, str]],
) -> None:
    assert all(float(line["variance"]) > 0.0 and math.isfinite(float(line["variance"])) for line in lines)
    models = {line["model"] for line in lines}
    origins = {(line["timestamp"], line["symbol"], line["horizon"]) for line in lines}
    assert len(lines) == len(models) * len(origins)
    assert all(line["timestamp"].endswith(":00Z") and "T" in line["timestamp"] for line in lines)


def test_symbols_are_reported_where_they_have_a_history_of_their_own(
    panel: BarTable, lines: list[dict[str, str]]
) -> None:
    origins = {s.symbol: {line["timestamp"] for line in lines if line["symbol"] == s.symbol} for s in panel.series}
    assert {symbol: len(stamps) for symbol, stamps in origins.items()} == {
        "ENDED": 0,  # before the first origin
        "LONG": BARS - FIRST,
        "NEW": BARS - (440 + 250),
        "NEWER, INC": 0,  # 160 bars are fewer than 250
        "STILL": 50,
    }


def test_a_symbol_without_an_outcome_to_score_is_skipped_and_counted(
    panel: BarTable, report: dict[str, Any], lines: list[dict[str, str]]
) -> None:
    still = [line for line in lines if line["symbol"] == "STILL" and line["model"] == "ensemble"]
    assert {line["realised"] for line in still} == {"0.0", ""}
    for scores in report["horizons"].values():
        named = [panel.series[row["symbol"]].symbol for row in scores["by_symbol"]]
        assert named == ["LONG", "NEW"]
        assert scores["skipped"] >= 50
        assert scores["scored"] + scores["skipped"] == report["data"]["origins"]


def test_poor_bars_are_counted(report: dict[str, Any]) -> None:
    assert 0 < report["data"]["poor_origins"] < report["data"]["origins"]


def test_the_page_is_written_too(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == ["forecasts.csv", "report.html", "report.json"]


def test_a_panel_of_symbols_that_are_all_too_new_is_refused_before_any_fit(tmp_path: Path) -> None:
    young = bar_table([_series(f"S{i}", 200 * i, 200 * (i + 1)) for i in range(6)], "young")
    with pytest.raises(InvalidInput, match="no symbol has 250 bars before an origin to report"):
        write_backtest(young, BacktestSettings(), tmp_path / "out", progress_bar(enabled=False))
    assert list(tmp_path.iterdir()) == []

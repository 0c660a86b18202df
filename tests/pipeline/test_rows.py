"""Rows: a fit sees a target only after it has matured, on the timeline of all symbols."""

from __future__ import annotations

import numpy as np
import pytest

from optimization.data.bars import BarSeries, BarTable, bar_table
from optimization.data.demo import demo_bars
from optimization.rows import HORIZONS, UNKNOWN, make_rows
from predictors.core.errors import DataError
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

SPEC = FeatureSpec(proxy="parkinson")


def _cut(series: BarSeries, start: int, end: int) -> BarSeries:
    return BarSeries(series.symbol, series.timestamps[start:end], series.bars[start:end], None)


@pytest.fixture(scope="module")
def panel() -> BarTable:
    """Two symbols whose histories overlap in part."""
    nasdaq, sp500 = (demo_bars(name).series[0] for name in ("nasdaq", "sp500"))
    return bar_table([_cut(nasdaq, 0, 600), _cut(sp500, 100, 700)], "panel")


def test_a_row_matures_at_the_last_bar_of_its_target(panel: BarTable) -> None:
    rows = make_rows(panel, SPEC, series_features)
    timeline = np.unique(np.concatenate([series.timestamps for series in panel.series]))
    for i in (0, 500, len(rows) - 3):
        series = panel.series[rows.symbol[i]]
        assert timeline[rows.origin[i]] == series.timestamps[rows.bar[i]] == rows.timestamps[i]
        for h, horizon in enumerate(HORIZONS):
            end = rows.bar[i] + horizon
            if end < len(series.bars):
                assert timeline[rows.matured[i, h]] == series.timestamps[end]
            else:
                assert rows.matured[i, h] == UNKNOWN


@pytest.mark.parametrize("refit", [300, 512])
def test_matured_rows_hold_no_target_that_ends_after_the_refit(panel: BarTable, refit: int) -> None:
    rows = make_rows(panel, SPEC, series_features)
    past = rows.matured_by(refit)
    assert (past.matured[np.isfinite(past.log_target)] <= refit).all()
    assert np.isnan(past.log_target[past.matured > refit]).all()
    expected = int(((rows.matured <= refit) & np.isfinite(rows.log_target)).any(axis=1).sum())
    assert len(past) == expected


def test_rows_are_in_order_of_time_then_symbol(panel: BarTable) -> None:
    rows = make_rows(panel, SPEC, series_features)
    order = np.lexsort((rows.symbol, rows.origin))
    np.testing.assert_array_equal(order, np.arange(len(rows)))


def test_a_later_bar_changes_no_earlier_row(panel: BarTable) -> None:
    whole = make_rows(panel, SPEC, series_features)
    stamp = panel.series[0].timestamps[450]
    cut = bar_table([_cut(s, 0, int((s.timestamps <= stamp).sum())) for s in panel.series], "cut")
    past, again = whole.take(whole.timestamps <= stamp), make_rows(cut, SPEC, series_features)
    np.testing.assert_array_equal(past.tabular, again.tabular)
    np.testing.assert_array_equal(past.sequence, again.sequence)
    known = np.isfinite(again.log_target)
    np.testing.assert_array_equal(past.log_target[known], again.log_target[known])


def test_poor_bars_are_left_out_of_fits_and_counted() -> None:
    series = demo_bars("nasdaq").series[0]
    bars = series.bars[:700].copy()
    bars[200:260, :4] = bars[200:260, 3:4]  # sixty bars with one price each
    rows = make_rows(
        bar_table([BarSeries("", series.timestamps[:700], bars, None)], "x"), FeatureSpec(), series_features
    )
    assert 30 <= (~rows.learnable).sum() <= 130
    assert not np.isin(rows.bar[~rows.learnable], rows.matured_by(699).bar).any()


def test_too_short_a_symbol_is_named(panel: BarTable) -> None:
    short = bar_table(
        [
            panel.series[0],
            BarSeries("XYZ", *(a[:50] for a in (panel.series[1].timestamps, panel.series[1].bars)), None),
        ],
        "x",
    )
    with pytest.raises(DataError, match="'XYZ' has 50 bars; one window needs 128"):
        make_rows(short, SPEC, series_features)


def test_proxy_realised_needs_its_column(panel: BarTable) -> None:
    with pytest.raises(DataError, match="needs a column 'realised'"):
        make_rows(panel, FeatureSpec(proxy="realised"), series_features)


def test_too_few_matured_rows_are_refused_with_the_number(panel: BarTable) -> None:
    with pytest.raises(DataError, match="are too few to fit; 100 are needed"):
        make_rows(panel, SPEC, series_features).matured_by(150)

"""Poor bars are found by a causal rule; suspicions are told, never refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from optimization.data import BarSeries, bar_table, demo_bars, poor_bars, quality_by_year, warnings_of
from predictors.core.errors import InvalidInput


@st.composite
def histories(draw: st.DrawFn, min_bars: int, max_bars: int) -> NDArray[np.float64]:
    """float64 (N, 5) of few prices: between a few and nearly all bars are uninformative, in runs or strewn."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(min_bars, max_bars))
    four = np.sort(rng.integers(1, draw(st.sampled_from([3, 6, 40])), (n, 4)).astype(float), axis=1)
    bars = np.column_stack([four[:, 1], four[:, 3], four[:, 0], four[:, 2], np.zeros(n)])
    start, stop = np.sort(rng.integers(0, n + 1, 2))
    bars[start:stop] = bars[min(start, n - 1)]
    return bars


DAY_NS = 86_400_000_000_000


def ordinary(n: int) -> NDArray[np.float64]:
    """Rising bars (n, 5) whose open and close lie inside their range."""
    close = 100.0 * 1.001 ** np.arange(n)
    return np.column_stack([close * 0.999, close * 1.01, close * 0.99, close, np.full(n, 1e6)])


def series(values: NDArray[np.float64], symbol: str = "") -> BarSeries:
    return BarSeries(symbol, np.arange(len(values), dtype=np.int64) * DAY_NS, values, None)


@settings(max_examples=200, deadline=None)
@given(histories(2, 300), histories(1, 150), st.data())
def test_the_future_never_changes_a_flag(
    history: NDArray[np.float64], future: NDArray[np.float64], data: st.DataObject
) -> None:
    """Cutting or replacing what comes after t leaves the flags up to t as they are."""
    t = data.draw(st.integers(1, len(history)))
    flags = poor_bars(history)
    np.testing.assert_array_equal(poor_bars(history[:t]), flags[:t])
    np.testing.assert_array_equal(poor_bars(np.concatenate([history[:t], future]))[:t], flags[:t])


@settings(max_examples=100, deadline=None)
@given(histories(67, 300))
def test_a_flag_reads_67_bars_and_none_before(history: NDArray[np.float64]) -> None:
    assert poor_bars(history[-67:])[-1] == poor_bars(history)[-1]


@pytest.mark.parametrize("kind", ["zero range", "made up from two closes", "stale"])
def test_more_than_a_quarter_of_uninformative_bars_makes_a_bar_poor(kind: str) -> None:
    values = ordinary(300)
    spoilt = slice(100, 117)  # 17 of 66
    if kind == "zero range":
        values[spoilt, :4] = values[spoilt, 3:4]
    elif kind == "made up from two closes":
        values[spoilt, 0] = values[99:116, 3]
        values[spoilt, 1], values[spoilt, 2] = values[spoilt, 3], values[99:116, 3]
    else:
        values[spoilt, :4] = values[99, :4]
    flagged = np.flatnonzero(poor_bars(values))
    assert flagged.tolist() == list(range(116, 166))
    values[110] = ordinary(300)[110]
    assert not poor_bars(values).any()


def test_opens_that_repeat_the_previous_close_are_not_poor() -> None:
    values = ordinary(300)
    values[1:, 0] = values[:-1, 3]
    assert not poor_bars(values).any()


def test_a_history_that_begins_with_closes_only_is_poor_until_it_is_not() -> None:
    values = ordinary(400)
    values[:200, :4] = values[:200, 3:4]
    flags = poor_bars(values)
    assert flags[16:249].all()
    assert not flags[249:].any()


def test_quality_counts_by_calendar_year() -> None:
    values = ordinary(4)
    values[1, :4] = 101.0  # no range
    values[2] = [101.0, 101.0, 101.0, 101.0, 0.0]  # the same again, without volume
    stamps = np.array(["2019-12-30", "2019-12-31", "2020-01-01", "2022-01-01"], "M8[ns]").astype(np.int64)
    years = quality_by_year(BarSeries("A", stamps, values, None))
    assert [(year.year, year.bars, year.zero_range, year.repeated, year.zero_volume) for year in years] == [
        (2019, 2, 1, 0, 0),
        (2020, 1, 1, 1, 1),
        (2022, 1, 0, 0, 0),
    ]
    assert [year.open_is_previous_close for year in years] == [0, 1, 0]


@pytest.mark.parametrize("name", ["nasdaq", "sp500"])
def test_the_demo_bars_are_twenty_real_years_without_a_poor_bar(name: str) -> None:
    table = demo_bars(name)
    (index,) = table.series
    assert index.symbol == name
    assert index.bars.shape == (5031, 5)
    assert index.timestamps[[0, -1]].view("M8[ns]").astype("M8[D]").astype(str).tolist() == ["1999-01-04", "2018-12-31"]
    assert not poor_bars(index.bars).any()
    assert warnings_of(table) == []


def test_the_demo_knows_its_names_and_its_data() -> None:
    assert demo_bars("nasdaq").series[0].bars[0, 3] == 2208.050049
    early = [year for year in quality_by_year(demo_bars("sp500").series[0]) if year.year < 2006]
    assert all(year.open_is_previous_close > 0.94 * year.bars for year in early)
    with pytest.raises(InvalidInput, match="there are no demo bars 'dax'; choose one of nasdaq, sp500"):
        demo_bars("dax")


def test_long_steps_are_warned_of_once_per_symbol() -> None:
    stamps = np.arange(20, dtype=np.int64)
    stamps[10:] += 10
    stamps[15:] += 30
    gaps = BarSeries("A", stamps * DAY_NS, ordinary(20), None)
    assert warnings_of(bar_table([gaps, series(ordinary(20), "B")], "t")) == [
        "A: 2 steps are longer than 10x the median of 1 d; the longest, 31 d, ends at 1970-02-25"
    ]


def test_a_split_is_suspected_only_where_the_bar_itself_did_not_travel() -> None:
    values = ordinary(30)
    values[20:, :4] /= 4.0
    (warning,) = warnings_of(bar_table([series(values, "A")], "t"))
    assert warning.startswith("A: suspected split at 1970-01-21: close 25.5048 after 101.917 (log return -1.39)")
    values[20, 1] = values[19, 3]  # a crash: it traded all the way down
    assert warnings_of(bar_table([series(values, "A")], "t")) == []


def test_many_suspected_splits_are_summed_up() -> None:
    values = ordinary(30)
    values[1::2, :4] *= 2.0
    found = warnings_of(bar_table([series(values)], "t"))
    assert len(found) == 6
    assert found[-1] == "24 more suspected splits, the last at 1970-01-30"

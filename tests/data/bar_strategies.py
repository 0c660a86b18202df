"""Tables that meet the contract, as hypothesis strategies."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from optimization.data import BarSeries, BarTable, bar_table

# 1990 to 2100, so that every way of writing a time can be tried.
STAMPS_NS = st.integers(631_152_000_000_000_000, 4_102_444_799_999_999_999)
PRICES = st.floats(1e-6, 1e9)


@st.composite
def bars(draw: st.DrawFn, min_bars: int = 1, max_bars: int = 40) -> NDArray[np.float64]:
    """float64 (N, 5): coarse prices half of the time, so that ties and stale runs occur."""
    n = draw(st.integers(min_bars, max_bars))
    price = draw(st.sampled_from([PRICES, st.integers(1, 3).map(float)]))
    four = np.sort(draw(hnp.arrays(np.float64, (n, 4), elements=price)), axis=1)
    swap = draw(hnp.arrays(np.bool_, n))
    low, first, second, high = four.T
    volume = draw(hnp.arrays(np.float64, n, elements=st.floats(0.0, 1e15)))
    return np.column_stack([np.where(swap, second, first), high, low, np.where(swap, first, second), volume])


@st.composite
def tables(draw: st.DrawFn) -> BarTable:
    """One to three symbols, daily or at any nanosecond, with or without realised variance."""
    symbols = draw(st.one_of(st.just([""]), st.lists(SYMBOLS, min_size=1, max_size=3, unique=True)))
    with_realised, unit_ns = draw(st.booleans()), draw(st.sampled_from([1, 1_000_000_000, 86_400_000_000_000]))
    series = []
    for symbol in symbols:
        values = draw(bars())
        n = len(values)
        stamps = draw(st.lists(STAMPS_NS.map(lambda ns: ns // unit_ns), min_size=n, max_size=n, unique=True))
        realised = draw(hnp.arrays(np.float64, n, elements=st.floats(0.0, 1.0))) if with_realised else None
        series.append(BarSeries(symbol, np.sort(np.array(stamps, np.int64)) * unit_ns, values, realised))
    return bar_table(series, "drawn")


# Blanks around a symbol are not part of it; line breaks and quotes within one are.
SYMBOLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda text: text == text.strip()
)

"""How good the bars are, by year, and which are too poor to learn from.

A bar is *uninformative* when its range says nothing about volatility:

- its open and close are its high and low (zero ranges included: one recorded price, or a range
  made up from two closes);
- or its four prices repeat those of the bar before (a stale feed).

One such bar is harmless; real markets have them. In a random walk of n price changes a bar is of
the first kind with probability 0.50, 0.375, 0.28, 0.22, 0.12 for n = 2, 4, 6, 8, 16 (enumerated),
so a share above 1/4 means fewer than about seven price changes a bar: too few to measure a range.
The same share is where zero ranges begin to drown the signal: floored at 5 % of the median
proxy, each lies ln 0.05 = -3 from the middle, so a share p adds 9 p (1 - p) to the variance of the
log proxy, 1.7 at p = 1/4, while that of a daily index's is about 1.5 in all.

The rule, hence: bar t is **poor** when more than a quarter of 66 bars (a quarter of a year of days)
are uninformative among the trailing 66 that end at t. It reads no bar after t. The count is
absolute, so that a few odd bars at the start of a file do not condemn it.
Open = previous close alone is no fault of a range and does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.data.bars import BarSeries
from predictors.core.window import CLOSE, HIGH, LOW, OPEN, VOLUME

TRAILING_BARS = 66
MAX_UNINFORMATIVE = TRAILING_BARS // 4


@dataclass(frozen=True, slots=True)
class YearQuality:
    """Counts of bars of one symbol in one calendar year (UTC).

    Attributes
    ----------
    bars
        All of them.
    zero_range
        With high = low.
    repeated
        With the four prices of the bar before.
    open_is_previous_close
        Whose open was probably not recorded; Parkinson's proxy does not need it, Garman-Klass's does.
    zero_volume
        Without volume.
    poor
        As `poor_bars` says.
    """

    symbol: str
    year: int
    bars: int
    zero_range: int
    repeated: int
    open_is_previous_close: int
    zero_volume: int
    poor: int


def poor_bars(bars: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Bars that are too poor to learn from, by the rule of this module.

    Parameters
    ----------
    bars
        float64 (N, 5) of one symbol: open, high, low, close, volume.

    Returns
    -------
    bool (N,): the flag at t is a function of the bars t-66 to t.
    """
    o, h, low, c = bars[:, OPEN], bars[:, HIGH], bars[:, LOW], bars[:, CLOSE]
    uninformative = (h == np.maximum(o, c)) & (low == np.minimum(o, c)) | _repeated(bars)
    total = np.cumsum(np.concatenate([np.zeros(TRAILING_BARS, int), uninformative]))
    return np.asarray(total[TRAILING_BARS:] - total[:-TRAILING_BARS] > MAX_UNINFORMATIVE)


def quality_by_year(series: BarSeries) -> list[YearQuality]:
    """Counts for each calendar year that has bars."""
    bars = series.bars
    same_open = np.zeros(len(bars), bool)
    same_open[1:] = bars[1:, OPEN] == bars[:-1, CLOSE]
    flags = np.column_stack(
        [bars[:, HIGH] == bars[:, LOW], _repeated(bars), same_open, bars[:, VOLUME] == 0.0, poor_bars(bars)]
    )
    years = series.timestamps.view("M8[ns]").astype("M8[Y]").astype(int) + 1970
    found, starts, sizes = np.unique(years, return_index=True, return_counts=True)
    counts = np.add.reduceat(flags, starts, axis=0, dtype=np.int64)
    return [
        YearQuality(series.symbol, year, size, *row)
        for year, size, row in zip(found.tolist(), sizes.tolist(), counts.tolist(), strict=True)
    ]


def _repeated(bars: NDArray[np.float64]) -> NDArray[np.bool_]:
    out = np.zeros(len(bars), bool)
    out[1:] = (bars[1:, :4] == bars[:-1, :4]).all(axis=1)
    return out

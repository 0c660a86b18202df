"""The same history with another future."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optimization.data.bars import BarSeries, BarTable, bar_table


def changed_after(table: BarTable, place: int, factor: float) -> BarTable:
    """The table with the prices of every bar from ``place`` on multiplied, the ranges widened."""
    series = table.series[0]
    bars: NDArray[np.float64] = series.bars.copy()
    bars[place:, :4] *= factor
    bars[place:, 1] *= 1.05
    return bar_table([BarSeries(series.symbol, series.timestamps, bars, None)], table.source)

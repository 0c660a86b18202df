"""What is allowed by the contract and yet worth a second look."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optimization.data.bars import BarSeries, BarTable, time_text
from predictors.core.window import CLOSE, HIGH, LOW

LONG_STEP = 10.0
SPLIT_LOG_RETURN = 0.4
_SHOWN = 5


def warnings_of(table: BarTable) -> list[str]:
    """One sentence for each suspicion; none is a reason to refuse.

    - columns that are ignored;
    - steps between bars of more than 10x the symbol's median step, summed up per symbol;
    - suspected splits: abs(ln C_t/C_{t-1}) > 0.4 while the bar's own ln(H/L) is less than half of it (a
      market that really moved so far has traded on the way). The first five of a symbol are listed.
    """
    found = [f"column '{name}' is ignored" for name in table.ignored]
    for series in table.series:
        name = f"{series.symbol}: " if series.symbol else ""
        found += [name + text for text in (*_long_steps(series), *_splits(series))]
    return found


def _long_steps(series: BarSeries) -> Iterator[str]:
    steps = np.diff(series.timestamps)
    long = steps > LONG_STEP * np.median(steps) if len(steps) else steps
    if long.any():
        longest = int(steps.argmax())
        yield (
            f"{int(long.sum())} steps are longer than 10x the median of {duration(float(np.median(steps)))}; "
            f"the longest, {duration(float(steps[longest]))}, ends at {time_text(series.timestamps[longest + 1])}"
        )


def _splits(series: BarSeries) -> Iterator[str]:
    close = series.bars[:, CLOSE]
    moves = np.diff(np.log(close))
    ranges = np.log(series.bars[1:, HIGH] / series.bars[1:, LOW])
    at = np.flatnonzero((np.abs(moves) > SPLIT_LOG_RETURN) & (ranges < 0.5 * np.abs(moves))) + 1
    for t in at[:_SHOWN].tolist():
        yield (
            f"suspected split at {time_text(series.timestamps[t])}: close {close[t]:.6g} after {close[t - 1]:.6g} "
            f"(log return {moves[t - 1]:+.2f}) on an ordinary range; adjust the prices before it if it is one"
        )
    if len(at) > _SHOWN:
        yield f"{len(at) - _SHOWN} more suspected splits, the last at {time_text(series.timestamps[at[-1]])}"


def duration(ns: float) -> str:
    """A time span for people, such as ``1 d``, ``5 min`` or ``0.25 s``."""
    for unit, size in (("d", 86_400e9), ("h", 3_600e9), ("min", 60e9)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns / 1e9:.3g} s"

"""Real bars to begin with, from the `arch` package (NCSA licence)."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from optimization.data.bars import BarSeries, BarTable, bar_table
from predictors.core.errors import InvalidInput
from predictors.core.window import FIELDS

DEMO_SYMBOLS = ("nasdaq", "sp500")


def demo_bars(name: str) -> BarTable:
    """Daily bars of an index, 1999-01-04 to 2018-12-31 (5,031 rows).

    Parameters
    ----------
    name
        ``nasdaq`` (the composite; good for Garman-Klass) or ``sp500`` (whose open is the previous
        close on most days before 2007: use Parkinson).

    Raises
    ------
    InvalidInput
        For another name.
    """
    if name not in DEMO_SYMBOLS:
        raise InvalidInput(f"there are no demo bars '{name}'; choose one of {', '.join(DEMO_SYMBOLS)}")
    frame = import_module(f"arch.data.{name}").load()
    stamps = frame.index.to_numpy("datetime64[ns]").astype(np.int64)
    bars = np.ascontiguousarray(frame[[field.capitalize() for field in FIELDS]].to_numpy(np.float64))
    return bar_table([BarSeries(name, stamps, bars, None)], f"arch {name}")

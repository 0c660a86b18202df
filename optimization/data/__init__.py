"""Bars from files: read, check, judge and write them.

::

    uri ──source──> bytes ──decode──> text cells ──cells──> arrays ──contract──> BarTable
"""

from optimization.data.bars import BarSeries, BarTable, bar_table
from optimization.data.demo import demo_bars
from optimization.data.quality import YearQuality, poor_bars, quality_by_year
from optimization.data.read import read_bars
from optimization.data.suspicions import warnings_of
from optimization.data.write import write_bars

__all__ = [
    "BarSeries",
    "BarTable",
    "YearQuality",
    "bar_table",
    "demo_bars",
    "poor_bars",
    "quality_by_year",
    "read_bars",
    "warnings_of",
    "write_bars",
]

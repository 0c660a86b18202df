"""Cells as numbers, times and symbols.

Each function returns the values of the rows *before* the first cell that it cannot read, so the
length of the answer says where a column goes wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NUMBER_RULE = "must be a number"
SYMBOL_RULE = "must not be empty"
TIME_RULE = (
    "must be ISO 8601, 1678 to 2261, like 2024-01-31 or 2024-01-31T15:30:00Z (an offset on every row or on none), "
    "or whole s, ms, µs or ns since 1970 that fall in 1990 to 2099; else give --timestamp-format"
)

_Scalar = TypeVar("_Scalar", bound=np.generic)
_UTC = pa.timestamp("ns", "UTC")
_NAIVE = pa.timestamp("ns")
# In this range the magnitude alone tells the unit, and dates written as 20240131 or 20240131153000 are in none.
_EPOCH_S = (631_152_000, 4_102_444_800)


def numbers(cells: pa.ChunkedArray) -> NDArray[np.float64]:
    """Values (n,) of a column of numbers or of text that holds numbers; may be NaN or infinite."""

    def convert(part: pa.ChunkedArray) -> NDArray[np.float64]:
        return np.asarray(part.cast(pa.float64(), safe=False).to_numpy(), np.float64)

    return _longest(cells, convert)


def times(cells: pa.ChunkedArray, timestamp_format: str | None) -> NDArray[np.int64]:
    """Nanoseconds since the epoch, UTC (n,); times without an offset are UTC.

    The first cell decides how the column is read: as a typed time, by ``timestamp_format``
    (`strftime` codes), as an integer epoch, or as ISO 8601 with or without an offset.
    """
    return _longest(cells, _time_reader(cells.slice(0, 1), timestamp_format))


def symbols(cells: pa.ChunkedArray) -> tuple[NDArray[np.int32], list[str]]:
    """Codes (n,) and the symbols that they count, in order of first appearance."""
    text = _longest_known(cells).cast(pa.string())
    empty = pc.index(text, "").as_py()
    encoded = (text if empty < 0 else text.slice(0, empty)).combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.to_numpy(), np.int32), encoded.dictionary.to_pylist()


def _time_reader(
    first: pa.ChunkedArray, timestamp_format: str | None
) -> Callable[[pa.ChunkedArray], NDArray[np.int64]]:
    if timestamp_format is not None:
        return lambda part: _by_format(part, timestamp_format)
    if pa.types.is_timestamp(first.type) or pa.types.is_date(first.type):
        return lambda part: _cast(part, pa.timestamp("ns", getattr(first.type, "tz", None)))
    for unit_ns in (1_000_000_000, 1_000_000, 1_000, 1):
        epoch = partial(_epoch, unit_ns=unit_ns)
        if len(_longest(first, epoch)):
            return epoch
    kind = _UTC if len(_longest(first, lambda part: _iso(part, _UTC))) else _NAIVE
    return lambda part: _iso(part, kind)


def _cast(part: pa.ChunkedArray, kind: pa.DataType) -> NDArray[np.int64]:
    return np.asarray(part.cast(kind).cast(pa.int64()).to_numpy(), np.int64)


def _iso(part: pa.ChunkedArray, kind: pa.DataType) -> NDArray[np.int64]:
    return _cast(part.cast(pa.string()), kind)  # Arrow takes bare integers for nanoseconds


def _epoch(part: pa.ChunkedArray, unit_ns: int) -> NDArray[np.int64]:
    values = np.asarray(part.cast(pa.int64()).to_numpy(), np.int64)
    low, high = (bound * 1_000_000_000 // unit_ns for bound in _EPOCH_S)
    if ((values < low) | (values >= high)).any():
        raise ValueError("outside 1990..2100")
    return values * unit_ns


def _by_format(part: pa.ChunkedArray, timestamp_format: str) -> NDArray[np.int64]:
    import pandas as pd

    found = pd.to_datetime(part.cast(pa.string()).to_pandas(), format=timestamp_format, utc=True)
    if found.isna().any():  # pandas takes "NaT" and "" for a time
        raise ValueError("not a time")
    return np.asarray(found.to_numpy("datetime64[ns]").astype(np.int64))


def _longest(cells: pa.ChunkedArray, convert: Callable[[pa.ChunkedArray], NDArray[_Scalar]]) -> NDArray[_Scalar]:
    """What ``convert`` makes of the longest leading part that it accepts (it raises ValueError)."""
    known = _longest_known(cells)
    try:
        return convert(known)
    except ValueError:
        good, bad = 0, len(known)  # all before `good` converts; the first failure is before `bad`
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                convert(known.slice(good, middle - good))
                good = middle
            except ValueError:
                bad = middle
        return convert(known.slice(0, good))


def _longest_known(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    return cells.slice(0, pc.index(cells.is_null(), True).as_py()) if cells.null_count else cells

"""Bars of one or many symbols, as arrays that meet the data contract."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BarSeries:
    """Bars of one symbol.

    Attributes
    ----------
    symbol
        Empty when the file has no symbol column.
    timestamps
        int64 (N,): nanoseconds since the epoch, UTC, strictly increasing.
    bars
        float64 (N, 5), C-contiguous: open, high, low, close in price units, volume in any unit
        (0 where unknown).
    realised
        float64 (N,): realised variance per bar in squared log-return, 0 where unknown; ``None``
        when the file has no such column. For offline evaluation only.
    """

    symbol: str
    timestamps: NDArray[np.int64]
    bars: NDArray[np.float64]
    realised: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class BarTable:
    """Bars of a file.

    Attributes
    ----------
    series
        One per symbol, in order of symbol; all have ``realised`` or none has.
    source
        Name of the file, for people.
    fingerprint
        sha256 (hex) of symbols, timestamps, bars and realised: the same whatever the file format
        and the order of the symbols in it.
    ignored
        Columns of the file that are not part of the contract.
    """

    series: tuple[BarSeries, ...]
    source: str
    fingerprint: str
    ignored: tuple[str, ...] = ()


def bar_table(series: Iterable[BarSeries], source: str, ignored: tuple[str, ...] = ()) -> BarTable:
    """Put series in order of symbol and fingerprint their content."""
    ordered = tuple(sorted(series, key=lambda one: one.symbol))
    digest = hashlib.sha256()
    for one in ordered:
        symbol = one.symbol.encode()
        # Lengths first, so that no two tables run together into the same bytes.
        digest.update(np.array([len(symbol), len(one.timestamps), one.realised is not None], "<i8").tobytes() + symbol)
        digest.update(one.timestamps.astype("<i8").tobytes())
        for values in (one.bars, one.realised):
            if values is not None:
                digest.update(values.astype("<f8").tobytes())
    return BarTable(ordered, source, digest.hexdigest(), ignored)


def time_text(stamp_ns: int | np.int64) -> str:
    """ISO 8601 of a time in UTC, as short as it is exact: ``2024-01-31`` or ``2024-01-31T15:30``."""
    return str(np.datetime_as_string(np.datetime64(int(stamp_ns), "ns"), unit="auto"))

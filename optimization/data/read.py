"""Read bars and refuse what breaks the data contract."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from optimization.data.bars import BarSeries, BarTable, bar_table
from optimization.data.cells import NUMBER_RULE, SYMBOL_RULE, TIME_RULE, numbers, symbols, times
from optimization.data.columns import REALISED, SYMBOL, TIMESTAMP
from optimization.data.contract import Violation, by_symbol, first_violation
from optimization.data.decode import Cells, decode
from optimization.data.source import fetch
from predictors.core.errors import DataError
from predictors.core.window import FIELDS


def read_bars(
    uri: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    symbol: str = "",
    timestamp_format: str | None = None,
) -> BarTable:
    """Read a long table of bars: CSV, gzipped CSV or Parquet.

    Parameters
    ----------
    uri
        A path, ``file:///path`` or ``s3://bucket/key``.
    columns
        Column of the contract -> its name in the file, where that differs. Without it names are
        compared without regard to case, and ``date`` and ``datetime`` stand for ``timestamp``.
    symbol
        Symbol of a file that has no such column.
    timestamp_format
        `strftime` codes of times that are neither ISO 8601 nor an integer epoch.

    Returns
    -------
    The bars of each symbol; nothing is repaired. Columns outside the contract are listed in
    ``ignored``.

    Raises
    ------
    DataError
        Naming file, row, column, value and rule of the first row, in file order, that breaks one.
    NotFound
        If there is no such file.
    InvalidInput
        For an unknown scheme or mapped column.
    StoreError
        If an object store cannot be read.
    """
    file, content = fetch(uri)
    cells = decode(file, content, columns or {})
    if symbol and SYMBOL in cells.columns:
        raise DataError(f"{file}: has a symbol column, so it cannot be given the symbol '{symbol}'")
    rows = len(cells.columns[TIMESTAMP])
    if rows == 0 and cells.ragged is None:
        raise DataError(f"{file}: has a header but no rows; expected at least one bar")

    stamps = times(cells.columns[TIMESTAMP], timestamp_format)
    codes, names = symbols(cells.columns[SYMBOL]) if SYMBOL in cells.columns else (np.zeros(rows, np.int32), [symbol])
    fields = {field: numbers(cells.columns[field]) for field in (*FIELDS, REALISED) if field in cells.columns}

    # Only rows before the first unreadable one can be judged; one of them may be the first offender.
    parsed = {TIMESTAMP: len(stamps), SYMBOL: len(codes)} | {field: len(values) for field, values in fields.items()}
    end = min(parsed.values())
    if cells.ragged is not None:
        end = min(end, cells.ragged[0])
    bars = np.zeros((end, 5))
    for i, field in enumerate(FIELDS):
        if field in fields:
            bars[:, i] = fields[field][:end]
    realised = fields[REALISED][:end] if REALISED in fields else None
    stamps, codes = stamps[:end], codes[:end]
    wrong = first_violation(stamps, codes, bars, realised)
    if wrong is not None:
        raise _refusal(file, cells, wrong)
    if cells.ragged is not None and cells.ragged[0] == end:
        raise DataError(f"{file}: row {cells.row_of(end)} {cells.ragged[1]}")
    for column, length in parsed.items():
        if length < rows and length == end:
            format_rule = timestamp_format and f"must have the format '{timestamp_format}'"
            rule = {TIMESTAMP: format_rule or TIME_RULE, SYMBOL: SYMBOL_RULE}.get(column, NUMBER_RULE)
            raise _refusal(file, cells, Violation(end, column, rule))

    order = by_symbol(codes)
    stamps, bars = stamps[order], bars[order]
    realised = None if realised is None else realised[order]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(codes))])
    parts = [slice(a, b) for a, b in pairwise(bounds.tolist())]
    return bar_table(
        (
            BarSeries(name, stamps[part], bars[part], None if realised is None else realised[part])
            for name, part in zip(names, parts, strict=True)
        ),
        file,
        cells.ignored,
    )


def _refusal(file: str, cells: Cells, wrong: Violation) -> DataError:
    cell = cells.columns[wrong.column][wrong.index].as_py()
    value = "is empty" if cell is None or cell == "" else f"= {str(cell)[:40]}"
    return DataError(f"{file}: row {cells.row_of(wrong.index)}, column '{wrong.column}' {value}: {wrong.rule}")

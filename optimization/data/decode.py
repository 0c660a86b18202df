"""CSV and Parquet as columns of cells, with the row numbers that people see."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from optimization.data.columns import SYMBOL, TIMESTAMP, resolve
from predictors.core.errors import DataError


@dataclass(frozen=True, slots=True)
class Cells:
    """Columns of a file before their content is understood.

    Attributes
    ----------
    columns
        Column of the contract -> its cells; text for CSV, typed for Parquet.
    ignored
        Names of the columns that the contract does not have.
    ragged
        Index of the first row with the wrong number of cells, which is where ``columns`` stop
        being trustworthy, and what is wrong with it.
    row_of
        Row number for people of a row index: the line in a CSV file, counted from 1 at its first
        line; the row of a Parquet file, counted from 1.
    """

    columns: dict[str, pa.ChunkedArray]
    ignored: tuple[str, ...]
    ragged: tuple[int, str] | None
    row_of: Callable[[int], int]


def decode(file: str, content: bytes, mapping: Mapping[str, str]) -> Cells:
    """Take a CSV or Parquet file apart.

    The content decides which it is; a name that ends in ``.parquet`` must be Parquet.

    Parameters
    ----------
    file
        Name of the file.
    content
        Its bytes, decompressed.
    mapping
        Column of the contract -> name in the file.

    Raises
    ------
    DataError
        If it is neither, is damaged, or lacks a column.
    """
    if content.startswith(b"PAR1"):
        return _parquet(file, content, mapping)
    if file.lower().endswith(".parquet"):
        raise DataError(f"{file}: is named .parquet but is no Parquet file; name it .csv if it is CSV")
    return _csv(file, content, mapping)


def _parquet(file: str, content: bytes, mapping: Mapping[str, str]) -> Cells:
    try:
        reader = pq.ParquetFile(pa.BufferReader(content))
        names = reader.schema_arrow.names
        found = resolve(file, names, mapping)
        table = reader.read(columns=list(found.values()))
    except (pa.ArrowException, OSError) as wrong:
        raise DataError(f"{file}: is damaged Parquet ({_first_line(wrong)}); write or copy it again") from wrong
    columns = {column: _unwrapped(file, column, table[name]) for column, name in found.items()}
    return Cells(columns, _left_over(names, found), None, lambda index: index + 1)


def _unwrapped(file: str, column: str, cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells of a simple type: dictionaries and long or short forms of text are ways to store, not types."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    kind = cells.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return cells.cast(pa.string())
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    time = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
    allowed = {TIMESTAMP: time or pa.types.is_integer(kind), SYMBOL: pa.types.is_integer(kind)}.get(column, number)
    if not (allowed or pa.types.is_string(kind) or pa.types.is_null(kind)):
        what = {TIMESTAMP: "times", SYMBOL: "text"}.get(column, "numbers")
        raise DataError(f"{file}: column '{column}' holds {kind}; it must hold {what}")
    return cells


def _csv(file: str, content: bytes, mapping: Mapping[str, str]) -> Cells:
    ragged: list[tuple[int, str]] = []

    def note(row: Any) -> str:
        # Arrow numbers the records that are not blank from 1, the header included.
        cells = f"{row.actual_columns} cell{'s' * (row.actual_columns != 1)}"
        ragged.append((row.number - 2, f"has {cells}; the header has {row.expected_columns}"))
        return "skip"

    try:
        names = next((record for record in csv.reader(_lines(content, "strict")) if record), [])
        found = resolve(file, names, mapping)
        table = pyarrow.csv.read_csv(
            pa.py_buffer(content if content.endswith(b"\n") else content + b"\n"),
            read_options=pyarrow.csv.ReadOptions(use_threads=False),  # threads would lose the row numbers
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=note, newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(found.values()), column_types=dict.fromkeys(found.values(), pa.string())
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as wrong:
        _check_utf8(file, content)
        raise DataError(f"{file}: cannot be parsed as CSV ({_first_line(wrong)})") from wrong
    columns = {column: pc.utf8_trim_whitespace(table[name]) for column, name in found.items()}
    return Cells(
        columns, _left_over(names, found), ragged[0] if ragged else None, lambda index: _line_of(content, index)
    )


def _line_of(content: bytes, index: int) -> int:
    """Line, from 1, on which the record ``index`` (the header is -1) begins; blank lines are no records."""
    reader = csv.reader(_lines(content, "replace"))
    before, passed = 0, -2
    try:
        for record in reader:
            passed += bool(record)
            if passed == index:
                break
            before = reader.line_num
    except csv.Error:
        pass  # a quote that is never closed: the record begins where the last good one ended
    return before + 1


def _lines(content: bytes, errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", errors, newline="")


def _check_utf8(file: str, content: bytes) -> None:
    try:
        content.decode()
    except UnicodeDecodeError as wrong:
        line = content.count(b"\n", 0, wrong.start) + 1
        raise DataError(
            f"{file}: row {line} holds byte 0x{content[wrong.start]:02x}, which is not UTF-8; save the file as UTF-8"
        ) from wrong


def _left_over(names: list[str], found: dict[str, str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in found.values())


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")

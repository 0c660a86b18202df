"""Write bars in the canonical form that `read_bars` takes."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from optimization.data.bars import BarTable
from optimization.data.columns import REALISED, SYMBOL, TIMESTAMP
from predictors.core.errors import InvalidInput, StoreError
from predictors.core.window import FIELDS

_DAY_NS, _SECOND_NS = 86_400_000_000_000, 1_000_000_000


def write_bars(table: BarTable, path: str | os.PathLike[str]) -> None:
    """Write a table; the file appears whole or not at all, and reads back with the same fingerprint.

    Parameters
    ----------
    table
        Bars of one or many symbols, written symbol after symbol.
    path
        Ends in ``.csv``, ``.csv.gz`` or ``.parquet``; an existing file is replaced.

    Raises
    ------
    InvalidInput
        For another ending.
    StoreError
        If it cannot be written.
    """
    target = Path(path)
    suffix = next((ending for ending in _WRITERS if target.name.lower().endswith(ending)), None)
    if suffix is None:
        raise InvalidInput(f"'{target.name}': the name must end in {', '.join(_WRITERS)}")
    columns = _arrow(table)
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with open(handle, "wb") as out:  # noqa: PTH123 - a descriptor, not a path
                _WRITERS[suffix](columns, out)
                out.flush()
                os.fsync(out.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as wrong:
        raise StoreError(f"cannot write '{target}': {wrong.strerror or wrong}") from wrong


def _arrow(table: BarTable) -> pa.Table:
    series = table.series
    stamps = np.concatenate([one.timestamps for one in series])
    bars = np.concatenate([one.bars for one in series])
    columns: dict[str, Any] = {TIMESTAMP: pa.array(stamps, pa.timestamp("ns", "UTC"))}
    columns |= {field: bars[:, i] for i, field in enumerate(FIELDS)}
    if any(one.symbol for one in series):
        columns[SYMBOL] = np.repeat([one.symbol for one in series], [len(one.timestamps) for one in series])
    realised = [one.realised for one in series if one.realised is not None]
    if realised:
        columns[REALISED] = np.concatenate(realised)
    return pa.table(columns)


def _write_csv(columns: pa.Table, out: IO[bytes] | gzip.GzipFile) -> None:
    stamps = columns[TIMESTAMP].cast(pa.int64()).to_numpy()
    if not (stamps % _DAY_NS).any():
        columns = columns.set_column(0, TIMESTAMP, columns[TIMESTAMP].cast(pa.date32()))
    elif not (stamps % _SECOND_NS).any():
        columns = columns.set_column(0, TIMESTAMP, columns[TIMESTAMP].cast(pa.timestamp("s", "UTC")))
    pyarrow.csv.write_csv(columns, out, pyarrow.csv.WriteOptions(quoting_header="none"))


def _write_gzip(columns: pa.Table, out: IO[bytes]) -> None:
    # No name and no time inside, so that the same table is the same bytes.
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=6, mtime=0) as packed:
        _write_csv(columns, packed)


def _write_parquet(columns: pa.Table, out: IO[bytes]) -> None:
    pq.write_table(columns, out)


_WRITERS: dict[str, Callable[[pa.Table, IO[bytes]], None]] = {
    ".csv": _write_csv,
    ".csv.gz": _write_gzip,
    ".parquet": _write_parquet,
}

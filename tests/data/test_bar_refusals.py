"""What breaks the data contract is refused: file, row, column, value and rule are named, the first row wins."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optimization.data import read_bars, write_bars
from predictors.core.errors import DataError, InvalidInput, NotFound, StoreError

HEADER = "timestamp,open,high,low,close,volume\n"
GOOD = "2020-01-02,10,12,9,11,100\n2020-01-03,11,13,10,12,100\n"  # lines 2 and 3


def csv(*rows: str, header: str = HEADER) -> str:
    return header + GOOD + "".join(row + "\n" for row in rows)


PANEL = (
    "timestamp,symbol,open,high,low,close\n2020-01-02,A,10,12,9,11\n2020-01-02,B,10,12,9,11\n2020-01-03,A,10,12,9,11\n"
)

MALFORMED = {
    # prices
    "zero price": (csv("2020-01-06,0,12,0,11,1"), "row 4, column 'open' = 0: prices must be > 0"),
    "negative price": (csv("2020-01-06,10,12,-9,11,1"), "row 4, column 'low' = -9: prices must be > 0"),
    "NaN price": (csv("2020-01-06,10,NaN,9,11,1"), "row 4, column 'high' = NaN: must be finite"),
    "infinite price": (csv("2020-01-06,10,inf,9,11,1"), "row 4, column 'high' = inf: must be finite"),
    "empty cell": (csv("2020-01-06,10,12,9,,1"), "row 4, column 'close' is empty: must be a number"),
    "blank cell": (csv("2020-01-06,10,12,9,  ,1"), "row 4, column 'close' is empty: must be a number"),
    "text": (csv("2020-01-06,10,n/a,9,11,1"), "row 4, column 'high' = n/a: must be a number"),
    "thousands": (csv('2020-01-06,10,"1,200",9,11,1'), "row 4, column 'high' = 1,200: must be a number"),
    "currency": (csv("2020-01-06,$10,12,9,11,1"), "row 4, column 'open' = $10: must be a number"),
    "underscore": (csv("2020-01-06,1_0,12,9,11,1"), "row 4, column 'open' = 1_0: must be a number"),
    "high below low": (csv("2020-01-06,10,8,9,10,1"), "row 4, column 'high' = 8: must be >= low = 9"),
    "open above high": (
        csv("2020-01-06,12.5,12,9,11,1"),
        "row 4, column 'open' = 12.5: must lie within [low, high] = [9, 12]",
    ),
    "low above open": (
        csv("2020-01-06,8.5,12,9,11,1"),
        "row 4, column 'open' = 8.5: must lie within [low, high] = [9, 12]",
    ),
    "adjusted close": (
        csv("2020-01-06,10,12,9,5.25,1"),
        "row 4, column 'close' = 5.25: must lie within [low, high] = [9, 12]; "
        "adjusted closes are probably mixed with raw bars",
    ),
    "close above high": (csv("2020-01-06,10,12,9,13,1"), "row 4, column 'close' = 13: must lie within [low, high]"),
    # volume and realised variance
    "negative volume": (csv("2020-01-06,10,12,9,11,-1"), "row 4, column 'volume' = -1: must be >= 0"),
    "empty volume": (csv("2020-01-06,10,12,9,11,"), "row 4, column 'volume' is empty: must be a number"),
    "negative realised": (
        "timestamp,open,high,low,close,realised\n2020-01-02,10,12,9,11,-1e-4\n",
        "row 2, column 'realised' = -1e-4: must be finite and >= 0",
    ),
    # times
    "duplicate": (csv("2020-01-03,10,12,9,11,1"), "row 4, column 'timestamp' = 2020-01-03: repeats"),
    "duplicate under another spelling": (
        csv("2020-01-03T00:00:00,10,12,9,11,1"),
        "row 4, column 'timestamp' = 2020-01-03T00:00:00: repeats",
    ),
    "unordered": (
        csv("2020-01-01,10,12,9,11,1"),
        "row 4, column 'timestamp' = 2020-01-01: must come after that of the symbol's row before, 2020-01-03",
    ),
    "unordered in a panel": (
        PANEL + "2020-01-01,B,10,12,9,11\n",
        "row 5, column 'timestamp' = 2020-01-01: must come after that of the symbol's row before, 2020-01-02",
    ),
    "offset that reorders": (
        "timestamp,open,high,low,close\n2020-01-02T09:00+00:00,10,12,9,11\n2020-01-02T10:00+05:00,10,12,9,11\n",
        "row 3, column 'timestamp' = 2020-01-02T10:00+05:00: must come after that of the symbol's row before, "
        "2020-01-02T09:00",
    ),
    "day first": (csv("06/01/2020,10,12,9,11,1"), "row 4, column 'timestamp' = 06/01/2020: must be ISO 8601"),
    "no such day": (csv("2020-02-30,10,12,9,11,1"), "row 4, column 'timestamp' = 2020-02-30: must be ISO 8601"),
    "empty time": (csv(",10,12,9,11,1"), "row 4, column 'timestamp' is empty: must be ISO 8601"),
    "offset on one row only": (
        csv("2020-01-06T00:00Z,10,12,9,11,1"),
        "row 4, column 'timestamp' = 2020-01-06T00:00Z: must be ISO 8601",
    ),
    "compact date": (
        "timestamp,open,high,low,close\n20200102,10,12,9,11\n",
        "row 2, column 'timestamp' = 20200102: must be ISO 8601",
    ),
    "compact time": (
        "timestamp,open,high,low,close\n20200102153000,10,12,9,11\n",
        "row 2, column 'timestamp' = 20200102153000: must be ISO 8601",
    ),
    "fractional epoch": (
        "timestamp,open,high,low,close\n1577923200.5,10,12,9,11\n",
        "row 2, column 'timestamp' = 1577923200.5: must be ISO 8601",
    ),
    "epoch that changes its unit": (
        "timestamp,open,high,low,close\n1577923200,10,12,9,11\n1577923300000,10,12,9,11\n",
        "row 3, column 'timestamp' = 1577923300000: must be ISO 8601",
    ),
    "before the range of int64 ns": (
        "timestamp,open,high,low,close\n1500-01-02,10,12,9,11\n",
        "row 2, column 'timestamp' = 1500-01-02: must be ISO 8601, 1678 to 2261",
    ),
    # symbols
    "empty symbol": (PANEL + "2020-01-03,,10,12,9,11\n", "row 5, column 'symbol' is empty: must not be empty"),
    # columns
    "missing column": (
        "timestamp,open,high,close\n2020-01-02,10,12,11\n",
        "column 'low' is missing; the file has 'timestamp', 'open', 'high', 'close'",
    ),
    "only an adjusted close": (
        "Date,Open,High,Low,Adj Close\n2020-01-02,10,12,9,11\n",
        "column 'close' is missing; the file has 'Date', 'Open', 'High', 'Low', 'Adj Close'",
    ),
    "no time": ("open,high,low,close\n10,12,9,11\n", "column 'timestamp' is missing"),
    "no header": (GOOD, "column 'timestamp' is missing; the file has '2020-01-02', '10'"),
    "semicolons": (
        "timestamp;open;high;low;close\n2020-01-02;10;12;9;11\n",
        "column 'timestamp' is missing; the file has 'timestamp;open;high;low;close'",
    ),
    "column twice": (
        "timestamp,open,high,low,close,Close\n2020-01-02,10,12,9,11,11\n",
        "columns 'close', 'Close' could all be 'close'; keep one or say which with --column",
    ),
    "two times": (
        "timestamp,date,open,high,low,close\n2020-01-02,2020-01-02,10,12,9,11\n",
        "columns 'timestamp', 'date' could all be 'timestamp'",
    ),
    # shape
    "short row": (csv("2020-01-06,10,12,9,11"), "row 4 has 5 cells; the header has 6"),
    "long row": (csv("2020-01-06,10,12,9,11,1,7"), "row 4 has 7 cells; the header has 6"),
    "cut off": (csv() + "20", "row 4 has 1 cell; the header has 6"),
    "header only": (HEADER, "has a header but no rows"),
    "header without line end": (HEADER.strip(), "has a header but no rows"),
    "empty": ("", "is empty; expected a header"),
    "blank": ("\n \n", "is empty; expected a header"),
    "quote never closed": (csv('"2020-01-06,10,12,9,11,1', "2020-01-07,10,12,9,11,1"), "row 4 has 1 cell"),
    # the first row in the file wins, whatever the rule, and the line is that of the file
    "price before text": (
        csv("2020-01-06,10,12,9,0,1", "2020-01-07,x,12,9,11,1"),
        "row 4, column 'close' = 0: prices must be > 0",
    ),
    "late rule before early rule": (
        csv("2020-01-03,10,12,9,11,1", "2020-01-07,0,12,0,11,1"),
        "row 4, column 'timestamp' = 2020-01-03: repeats",
    ),
    "text before price": (
        csv("2020-01-06,x,12,9,11,1", "2020-01-07,10,12,9,0,1"),
        "row 4, column 'open' = x: must be a number",
    ),
    "order before short row": (csv("2020-01-01,10,12,9,11,1", "2020-01-07"), "row 4, column 'timestamp' = 2020-01-01"),
    "short row before text": (csv("2020-01-06", "2020-01-07,x,12,9,11,1"), "row 4 has 1 cell"),
    "text before short row": (csv("2020-01-06,x,12,9,11,1", "2020-01-07"), "row 4, column 'open' = x"),
    "left column before right": (csv("2020-01-06,10,y,x,11,1"), "row 4, column 'high' = y: must be a number"),
    "blank lines count": (
        "\n" + csv("", "", "2020-01-06,10,12,9,0,1"),
        "row 7, column 'close' = 0: prices must be > 0",
    ),
    "line breaks in an ignored cell count": (
        'timestamp,open,high,low,close,note\n2020-01-02,10,12,9,11,"a\nb"\n2020-01-03,10,12,9,0,c\n',
        "row 4, column 'close' = 0: prices must be > 0",
    ),
    "Windows line ends": (csv("2020-01-06,10,12,9,0,1").replace("\n", "\r\n"), "row 4, column 'close' = 0"),
    "byte order mark": ("\ufeff" + csv("2020-01-06,10,12,9,0,1"), "row 4, column 'close' = 0"),
}


@pytest.mark.parametrize(("text", "expected"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_csv_is_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(text, newline="")
    with pytest.raises(DataError) as refused:
        read_bars(path)
    assert str(refused.value).startswith(f"prices.csv: {expected}")
    assert "\n" not in str(refused.value)


def test_the_row_is_exact_deep_in_a_file_of_several_megabytes(tmp_path: Path) -> None:
    stamps = np.datetime_as_string(np.datetime64("2000-01-03T00:00", "m") + np.arange(100_000))
    rows = [f"{stamp},100.5,100.75,100.25,100.5,1000" for stamp in stamps]
    rows[87_654] = rows[87_654].replace("100.25", "oops")
    path = tmp_path / "long.csv"
    path.write_text(HEADER + "\n".join(rows))
    with pytest.raises(DataError, match=r"^long.csv: row 87656, column 'low' = oops: must be a number$"):
        read_bars(path)
    rows[87_654] = "2000-01-01"
    path.write_text(HEADER + "\n".join(rows))
    with pytest.raises(DataError, match=r"^long.csv: row 87656 has 1 cell; the header has 6$"):
        read_bars(path)


def table(**replaced: object) -> pa.Table:
    columns: dict[str, object] = {
        "timestamp": pa.array([0, 86_400_000, 2 * 86_400_000], pa.timestamp("ms")),
        "open": [10.0, 10.0, 10.0],
        "high": [12.0, 12.0, 12.0],
        "low": [9.0, 9.0, 9.0],
        "close": [11.0, 11.0, 11.0],
    }
    return pa.table(columns | replaced)


MALFORMED_PARQUET = {
    "null": (table(close=[11.0, None, 11.0]), "row 2, column 'close' is empty: must be a number"),
    "NaN": (table(close=[11.0, 11.0, float("nan")]), "row 3, column 'close' = nan: must be finite"),
    "only nulls": (table(close=pa.nulls(3)), "row 1, column 'close' is empty: must be a number"),
    "text": (table(close=["11", "11", "x"]), "row 3, column 'close' = x: must be a number"),
    "zero": (table(low=[9, 0, 9]), "row 2, column 'low' = 0: prices must be > 0"),
    "booleans": (table(close=[True] * 3), "column 'close' holds bool; it must hold numbers"),
    "lists": (table(close=[[1.0]] * 3), "column 'close' holds list<"),
    "float times": (table(timestamp=[1.5e9, 1.6e9, 1.7e9]), "column 'timestamp' holds double; it must hold times"),
    "null time": (
        table(timestamp=pa.array([0, None, 2], pa.timestamp("s"))),
        "row 2, column 'timestamp' is empty: must be ISO 8601",
    ),
    "unordered": (
        table(timestamp=pa.array([0, 9, 5], pa.date32())),
        "row 3, column 'timestamp' = 1970-01-06: must come after that of the symbol's row before, 1970-01-10",
    ),
    "beyond the range of int64 ns": (
        table(timestamp=pa.array([0, 1, 20_000_000_000], pa.timestamp("s"))),
        "row 3, column 'timestamp' = 2603-10-11 11:33:20: must be ISO 8601, 1678 to 2261",
    ),
    "row number in microseconds": (table(timestamp=[1, 2, 3]), "row 1, column 'timestamp' = 1: must be ISO 8601"),
    "null symbol": (table(symbol=["A", None, "A"]), "row 2, column 'symbol' is empty: must not be empty"),
    "missing column": (table().drop_columns(["low"]), "column 'low' is missing; the file has 'timestamp', 'open'"),
    "no rows": (table().slice(0, 0), "has a header but no rows"),
}


@pytest.mark.parametrize(("content", "expected"), MALFORMED_PARQUET.values(), ids=MALFORMED_PARQUET.keys())
def test_a_malformed_parquet_is_refused_in_one_line(tmp_path: Path, content: pa.Table, expected: str) -> None:
    pq.write_table(content, tmp_path / "prices.parquet")
    with pytest.raises(DataError) as refused:
        read_bars(tmp_path / "prices.parquet")
    assert str(refused.value).startswith(f"prices.parquet: {expected}")
    assert "\n" not in str(refused.value)


UNREADABLE = {
    "Latin-1 symbol": (
        "prices.csv",
        PANEL.encode() + b"2020-01-03,Z\xfcrich,10,12,9,11\n",
        "row 5 holds byte 0xfc, which is not UTF-8",
    ),
    "UTF-16": ("prices.csv", csv().encode("utf-16"), "row 1 holds byte 0xff, which is not UTF-8"),
    "damaged gzip": ("prices.csv.gz", gzip.compress(csv().encode())[:-12], "is damaged gzip"),
    "cut Parquet": ("prices.parquet", b"PAR1" + bytes(100), "is damaged Parquet"),
    "CSV named Parquet": ("prices.parquet", csv().encode(), "is named .parquet but is no Parquet file"),
}


@pytest.mark.parametrize(("name", "content", "expected"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_bars(tmp_path / name)
    assert str(refused.value).startswith(f"{name}: {expected}")
    assert "\n" not in str(refused.value)


def test_directories_missing_files_and_unknown_schemes_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path.name}: is a directory; name one CSV or Parquet file$"):
        read_bars(tmp_path)
    with pytest.raises(NotFound, match=r"^there is no file '.*absent\.csv'$"):
        read_bars(tmp_path / "absent.csv")
    with pytest.raises(InvalidInput, match=r"^'s3://bucket' names no object; add its key"):
        read_bars("s3://bucket")
    with pytest.raises(InvalidInput, match=r"scheme 'ftp' is unknown; use a path, file:// or s3://"):
        read_bars("ftp://host/prices.csv")


def test_wrong_mappings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(csv())
    with pytest.raises(InvalidInput, match=r"^column 'last' is not one of timestamp, symbol, open"):
        read_bars(path, columns={"last": "close"})
    with pytest.raises(DataError, match=r"^prices.csv: column 'Last' is missing; the file has 'timestamp'"):
        read_bars(path, columns={"close": "Last"})
    with pytest.raises(DataError, match=r"^prices.csv: column 'Realized' is missing"):
        read_bars(path, columns={"realised": "Realized"})
    with pytest.raises(DataError, match=r"row 2, column 'timestamp' = 2020-01-02: must have the format '%d\.%m\.%Y'"):
        read_bars(path, timestamp_format="%d.%m.%Y")
    path.write_text(PANEL)
    with pytest.raises(DataError, match=r"^prices.csv: has a symbol column, so it cannot be given the symbol 'ACME'$"):
        read_bars(path, symbol="ACME")


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "prices.csv"
    source.write_text(csv())
    good = read_bars(source)
    with pytest.raises(StoreError, match=r"^cannot write '.*absent/out\.csv': No such file or directory$"):
        write_bars(good, tmp_path / "absent" / "out.csv")
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(StoreError, match=r"^cannot write '.*taken\.csv': Is a directory$"):
        write_bars(good, tmp_path / "taken.csv")
    with pytest.raises(InvalidInput, match=r"'out\.xlsx': the name must end in \.csv, \.csv\.gz, \.parquet"):
        write_bars(good, tmp_path / "out.xlsx")
    assert {path.name for path in tmp_path.iterdir()} == {"prices.csv", "taken.csv"}

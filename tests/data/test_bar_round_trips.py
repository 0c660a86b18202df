"""The same bars are the same table, whatever file they come from."""

from __future__ import annotations

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bar_strategies import tables
from hypothesis import given, settings

from optimization.data import BarTable, demo_bars, read_bars, warnings_of, write_bars
from optimization.data.bars import time_text

BODY = "{},10,12,9,11,100\n{},11,13,10,12,100\n"


def assert_same(found: BarTable, expected: BarTable) -> None:
    assert found.fingerprint == expected.fingerprint
    for one, other in zip(found.series, expected.series, strict=True):
        assert one.symbol == other.symbol
        np.testing.assert_array_equal(one.timestamps, other.timestamps)
        np.testing.assert_array_equal(one.bars, other.bars)
        np.testing.assert_array_equal(one.realised, other.realised)
        assert one.bars.flags.c_contiguous


@settings(max_examples=60, deadline=None)
@given(tables())
def test_every_valid_table_survives_csv_and_parquet(table: BarTable) -> None:
    with TemporaryDirectory() as folder:
        for name in ("t.csv", "t.csv.gz", "t.parquet"):
            write_bars(table, Path(folder) / name)
            assert_same(read_bars(Path(folder) / name), table)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_the_same_table_is_written_as_the_same_bytes(tmp_path: Path, name: str) -> None:
    written = []
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        write_bars(demo_bars("nasdaq"), tmp_path / folder / name)
        written.append((tmp_path / folder / name).read_bytes())
    assert written[0] == written[1]
    if name.endswith(".gz"):
        assert written[0][4:8] == bytes(4), "gzip holds no time (RFC 1952, MTIME)"


def test_a_panel_may_interleave_its_symbols(tmp_path: Path) -> None:
    rows = [
        "2020-01-02,B,20,22,19,21",
        "2020-01-02,A,10,12,9,11",
        "2020-01-03,A,11,13,10,12",
        "2020-01-03,B,21,23,20,22",
    ]
    fingerprints = set()
    for order in ([0, 1, 2, 3], [1, 2, 0, 3]):
        (tmp_path / "p.csv").write_text("timestamp,symbol,open,high,low,close\n" + "\n".join(rows[i] for i in order))
        table = read_bars(tmp_path / "p.csv")
        fingerprints.add(table.fingerprint)
    assert len(fingerprints) == 1
    assert [series.symbol for series in table.series] == ["A", "B"]
    assert table.series[1].bars.tolist() == [[20, 22, 19, 21, 0], [21, 23, 20, 22, 0]]


def test_every_value_symbol_and_column_counts_in_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    texts = [
        "timestamp,open,high,low,close,volume\n" + BODY.format("2020-01-02", "2020-01-03"),
        "timestamp,open,high,low,close,volume\n" + BODY.format("2020-01-02", "2020-01-04"),
        "timestamp,open,high,low,close\n" + BODY.format("2020-01-02", "2020-01-03").replace(",100", ""),
        "timestamp,open,high,low,close,realised\n" + BODY.format("2020-01-02", "2020-01-03"),
    ]
    found = []
    for text in texts:
        path.write_text(text)
        found.append(read_bars(path).fingerprint)
    found += [read_bars(path, symbol=symbol).fingerprint for symbol in ("ACME", "ACNE")]
    assert len(set(found)) == 6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2020-01-02", "2020-01-03"),
        ("2020-01-02T00:00", "2020-01-03 00:00:00"),
        ("2020-01-02T00:00:00.000Z", "2020-01-03T00:00:00Z"),
        ("2020-01-02T05:30:00+05:30", "2020-01-02T19:00:00-0500"),
        ("1577923200", "1578009600"),
        ("1577923200000", "1578009600000"),
        ("1577923200000000", "1578009600000000"),
        ("1577923200000000000", "1578009600000000000"),
    ],
)
def test_a_time_means_the_same_in_every_accepted_notation(tmp_path: Path, first: str, second: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("DateTime,OPEN,High,low,Close,Volume\n" + BODY.format(first, second))
    table = read_bars(path)
    assert [time_text(stamp) for stamp in table.series[0].timestamps] == ["2020-01-02", "2020-01-03"]
    assert table.series[0].bars.tolist() == [[10, 12, 9, 11, 100], [11, 13, 10, 12, 100]]


@pytest.mark.parametrize(
    "stamps",
    [
        pa.array([18263, 18264], pa.date32()),
        pa.array([1577923200, 1578009600], pa.timestamp("s")),
        pa.array([1577923200_000_000, 1578009600_000_000], pa.timestamp("us", "America/New_York")),
        pa.array([1577923200, 1578009600], pa.int64()),
        pa.array(["2020-01-02", "2020-01-03"]),
        pa.array(["2020-01-02", "2020-01-03"], pa.large_string()).dictionary_encode(),
    ],
    ids=str,
)
def test_parquet_may_hold_times_and_numbers_of_any_width(tmp_path: Path, stamps: pa.Array) -> None:
    prices = {"Open": pa.array([10, 11], pa.int16()), "High": pa.array([12, 13], pa.float32()), "Low": [9.0, 10.0]}
    content = {"date": stamps, **prices, "Close": ["11", "12"], "Volume": [100, 100]}
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("timestamp,open,high,low,close,volume\n" + BODY.format("2020-01-02", "2020-01-03"))
    assert_same(read_bars(tmp_path / "t.parquet"), read_bars(tmp_path / "t.csv"))


def test_foreign_names_formats_and_symbols_are_mapped_when_told(tmp_path: Path) -> None:
    path = tmp_path / "vendor.csv"
    path.write_text("Tag,Open,High,Low,Last,close\n" + "02.01.2020,10,12,9,11,0\n03.01.2020,11,13,10,12,0\n")
    told = {"timestamp": "tag", "close": "Last"}
    table = read_bars(path, columns=told, symbol="ACME", timestamp_format="%d.%m.%Y")
    assert table.series[0].symbol == "ACME"
    assert [time_text(stamp) for stamp in table.series[0].timestamps] == ["2020-01-02", "2020-01-03"]
    assert table.series[0].bars[:, 3].tolist() == [11, 12]
    assert table.ignored == ("close",)


def test_line_breaks_in_an_ignored_cell_do_no_harm_in_a_file_of_several_megabytes(tmp_path: Path) -> None:
    stamps = np.datetime_as_string(np.datetime64("2000-01-03T00:00", "m") + np.arange(50_000))
    rows = [f'{stamp},10,12,9,11,"{"so" * 20}\nand so on"' for stamp in stamps]
    (tmp_path / "t.csv").write_text("timestamp,open,high,low,close,note\n" + "\n".join(rows))
    assert len(read_bars(tmp_path / "t.csv").series[0].bars) == 50_000


def test_what_is_not_in_the_contract_is_ignored_and_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Date,Open,High,Low,Close,Adj Close,realised_variance\n2020-01-02, 10, 12, 9, 11, 5, 0.1\n")
    table = read_bars(path)
    assert table.series[0].realised is None
    assert warnings_of(table) == ["column 'Adj Close' is ignored", "column 'realised_variance' is ignored"]


def test_content_decides_and_file_uris_work(tmp_path: Path) -> None:
    write_bars(demo_bars("nasdaq"), tmp_path / "real bars.parquet")
    (tmp_path / "bars.dat").write_bytes((tmp_path / "real bars.parquet").read_bytes())
    write_bars(demo_bars("nasdaq"), tmp_path / "bars.csv")
    (tmp_path / "zipped").write_bytes(gzip.compress((tmp_path / "bars.csv").read_bytes()))
    sources = [tmp_path / "bars.dat", tmp_path / "zipped", (tmp_path / "real bars.parquet").as_uri()]
    assert {read_bars(source).fingerprint for source in sources} == {demo_bars("nasdaq").fingerprint}
    assert read_bars(sources[2]).source == "real bars.parquet"

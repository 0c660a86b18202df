"""`wavecast data`: demo, check and import, with exit codes that scripts can trust."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from optimization.cli.data import data
from optimization.data import demo_bars, read_bars
from predictors.core.errors import DataError, InvalidInput


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def test_demo_writes_real_bars_and_check_describes_them(tmp_path: Path) -> None:
    assert run("demo", "--symbol", "both", "--out", tmp_path / "panel.parquet").exit_code == 0
    checked = run("check", tmp_path / "panel.parquet", "--json")
    assert checked.exit_code == 0
    summary = json.loads(checked.stdout)
    assert [(one["symbol"], one["bars"], one["first"], one["last"]) for one in summary["symbols"]] == [
        ("nasdaq", 5031, "1999-01-04", "2018-12-31"),
        ("sp500", 5031, "1999-01-04", "2018-12-31"),
    ]
    assert summary["symbols"][0]["median_step_s"] == 86400.0
    assert summary["symbols"][0]["zero_volume"] == 2
    assert len(summary["years"]) == 40
    assert summary["warnings"] == []
    assert summary["fingerprint"] == read_bars(tmp_path / "panel.parquet").fingerprint


def test_check_prints_tables_and_warnings_for_people(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Date,Open,High,Low,Close,[Note]\n2020-01-02,10,12,9,11,x\n")
    checked = run("check", tmp_path / "t.csv")
    assert checked.exit_code == 0
    for text in ("Quality by year", "2020", "t.csv", "2020-01-02", "warning: column '[Note]' is ignored"):
        assert text in checked.stdout


def test_import_brings_a_foreign_file_into_the_canonical_form(tmp_path: Path) -> None:
    assert run("demo", "--out", tmp_path / "demo.csv").exit_code == 0
    header, *rows = (tmp_path / "demo.csv").read_text().replace(',"nasdaq"', "").splitlines()
    foreign = ["{2}.{1}.{0}".format(*row[:10].split("-")) + row[10:] for row in rows]
    names = header.replace(",symbol", "").replace("timestamp", "Datum").replace("close", "Last")
    (tmp_path / "vendor.csv").write_text("\n".join([names, *foreign]))
    told = ["--column=timestamp=Datum", "--column=close=Last", "--symbol=nasdaq", "--timestamp-format=%d.%m.%Y"]
    imported = run("import", tmp_path / "vendor.csv", "--out", tmp_path / "own.parquet", *told, "--json")
    assert imported.exit_code == 0
    assert json.loads(imported.stdout)["bars"] == 5031
    assert read_bars(tmp_path / "own.parquet").fingerprint == demo_bars("nasdaq").fingerprint


def test_what_breaks_the_contract_is_the_users_mistake_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("timestamp,open,high,low,close\n2020-01-02,10,12,9,20\n")
    for arguments in (["check", tmp_path / "bad.csv"], ["import", tmp_path / "bad.csv", "--out", tmp_path / "o.csv"]):
        refused = run(*arguments)
        assert isinstance(refused.exception, DataError)
        assert refused.exception.exit_code == 2
        assert "row 2, column 'close' = 20" in str(refused.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo"],
        ["demo", "--symbol", "dax", "--out", "x.csv"],
        ["check"],
        ["import", "x.csv", "--out", "y.csv", "--column", "close"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_another_ending_is_refused(tmp_path: Path) -> None:
    refused = run("demo", "--out", tmp_path / "bars.xlsx")
    assert isinstance(refused.exception, InvalidInput)


@pytest.mark.parametrize("command", [[], ["demo"], ["check"], ["import"]])
def test_help_shows_an_example(command: list[str]) -> None:
    shown = run(*command, "--help")
    assert shown.exit_code == 0
    assert "wavecast data" in shown.output

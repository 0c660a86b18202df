"""`wavecast data`: get bars, check them, bring them into the canonical form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from optimization.cli.options import busy

if TYPE_CHECKING:
    from rich.table import Table

    from optimization.data import BarTable

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")
_OUT = click.option("--out", required=True, metavar="FILE", help="Ends in .csv, .csv.gz or .parquet; is replaced.")


@click.group()
def data() -> None:
    """Bars: real ones to begin with, checks, and imports.

    A table of bars is CSV (also gzipped) or Parquet with the columns timestamp, open, high, low, close and
    optionally volume, symbol and realised. Prices are raw, not adjusted.

    \b
    wavecast data demo --out bars.csv
    wavecast data check bars.csv
    """


@data.command()
@click.option("--symbol", type=click.Choice(["nasdaq", "sp500", "both"]), default="nasdaq", show_default=True)
@_OUT
@_JSON
def demo(symbol: str, out: str, as_json: bool) -> None:
    """Write 20 years of daily bars of the NASDAQ composite, the S&P 500, or both.

    \b
    wavecast data demo --out bars.csv
    wavecast data demo --symbol both --out panel.parquet
    """
    with busy("preparing real bars"):
        from optimization.data import bar_table, demo_bars, write_bars
        from optimization.data.demo import DEMO_SYMBOLS

        names = DEMO_SYMBOLS if symbol == "both" else (symbol,)
        table = bar_table([one for name in names for one in demo_bars(name).series], f"arch {symbol}")
        write_bars(table, out)
    _print_written(table, out, as_json)


@data.command()
@click.argument("file")
@_JSON
def check(file: str, as_json: bool) -> None:
    """Check FILE (a path, file:// or s3://) against the contract and show how good its bars are.

    Exit code 2 and one line naming row, column, value and rule if FILE breaks it; warnings do not count.

    \b
    wavecast data check bars.csv
    wavecast data check s3://bucket/panel.parquet --json
    """
    with busy(f"checking {file}"):
        from optimization.data import read_bars

        summary = _summary(read_bars(file))
    if as_json:
        click.echo(json.dumps(summary))
    else:
        _print_summary(summary)


@data.command("import")
@click.argument("src")
@_OUT
@click.option("--column", "columns", multiple=True, metavar="NAME=THEIRS", help="Column NAME is called THEIRS in SRC.")
@click.option("--symbol", default="", metavar="NAME", help="Symbol of a SRC without a symbol column.")
@click.option("--timestamp-format", metavar="FORMAT", help="strftime codes of times that are not ISO 8601.")
@_JSON
def import_(
    src: str, out: str, columns: tuple[str, ...], symbol: str, timestamp_format: str | None, as_json: bool
) -> None:
    """Check SRC (a path, file:// or s3://) and write it in the canonical form.

    Nothing is repaired: what `check` refuses is refused here, and nothing is written.

    \b
    wavecast data import vendor.csv --out bars.parquet
    wavecast data import prices.csv --out bars.csv --symbol ACME --column close=Last --timestamp-format %d.%m.%Y
    """
    mapping = {}
    for pair in columns:
        name, equals, theirs = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"'{pair}' is not of the form NAME=THEIRS", param_hint="--column")
        mapping[name] = theirs
    with busy(f"importing {src}"):
        from optimization.data import read_bars, write_bars

        table = read_bars(src, columns=mapping, symbol=symbol, timestamp_format=timestamp_format)
        write_bars(table, out)
    _print_written(table, out, as_json)


def _summary(table: BarTable) -> dict[str, Any]:
    from dataclasses import asdict

    import numpy as np

    from optimization.data import quality_by_year, warnings_of
    from optimization.data.bars import time_text

    years = [asdict(year) for series in table.series for year in quality_by_year(series)]
    return {
        "source": table.source,
        "fingerprint": table.fingerprint,
        "symbols": [
            {
                "symbol": series.symbol,
                "bars": len(series.timestamps),
                "first": time_text(series.timestamps[0]),
                "last": time_text(series.timestamps[-1]),
                "median_step_s": float(np.median(np.diff(series.timestamps))) / 1e9 if len(series.bars) > 1 else None,
                "zero_volume": sum(year["zero_volume"] for year in years if year["symbol"] == series.symbol),
                "poor": sum(year["poor"] for year in years if year["symbol"] == series.symbol),
            }
            for series in table.series
        ],
        "years": years,
        "warnings": warnings_of(table),
    }


def _print_summary(summary: dict[str, Any]) -> None:
    from rich.console import Console

    from optimization.data.suspicions import duration

    console = Console()
    symbols = [
        {"median_step" if key == "median_step_s" else key: value for key, value in one.items()}
        | {"median_step": duration(one["median_step_s"] * 1e9) if one["median_step_s"] else "-"}
        for one in summary["symbols"]
    ]
    console.print(_table("Quality by year", summary["years"]), _table(summary["source"], symbols))
    for warning in summary["warnings"]:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if name == "symbol" else "right", overflow="fold")
    for row in rows:
        counts = (f"{value:,}" if isinstance(value, int) and name != "year" else value for name, value in row.items())
        table.add_row(*(escape(str(value)) for value in counts))
    return table


def _print_written(table: BarTable, out: str, as_json: bool) -> None:
    bars = sum(len(series.bars) for series in table.series)
    if as_json:
        symbols = [series.symbol for series in table.series]
        click.echo(json.dumps({"out": out, "bars": bars, "symbols": symbols, "fingerprint": table.fingerprint}))
    else:
        click.echo(f"{out}: {bars:,} bars, {len(table.series)} symbol(s)")

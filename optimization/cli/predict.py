"""`wavecast predict`: the forecast of the last bar, for people and for machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from optimization.cli.options import busy, data_option, json_option, store_option

if TYPE_CHECKING:
    from optimization.data import BarSeries
    from predictors.engine import Engine


@click.command()
@data_option
@store_option
@click.option("--release", metavar="ID", help="Release to use; the newest in the store if not given.")
@click.option("--bars-per-year", type=float, help="For annualised volatility; the release's own if not given.")
@json_option
def predict(data: str, store: str, release: str | None, bars_per_year: float | None, as_json: bool) -> None:
    """Forecast the volatility that follows the last bar of each symbol.

    \b
    wavecast predict --data prices.csv
    wavecast predict --data prices.csv --bars-per-year 365 --json
    """
    from optimization.data import read_bars
    from predictors.core.errors import InvalidInput
    from predictors.engine import Engine
    from predictors.store import Store, read_release

    if bars_per_year is not None and not 0 < bars_per_year < float("inf"):
        raise InvalidInput(f"--bars-per-year is {bars_per_year:g}; it must be > 0 and finite")
    with busy(f"reading {data}"):
        table = read_bars(data)
        engine = Engine(read_release(Store(store), release))
    year = bars_per_year or engine.manifest.bars_per_year
    forecasts = [_forecast(engine, series, year) for series in table.series]
    if as_json:
        click.echo(json.dumps({"release": engine.manifest.release, "bars_per_year": year, "forecasts": forecasts}))
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"annualised volatility, release {engine.manifest.release}")
    for column in ("symbol", "last bar", "next", "volatility", "50 % interval", "90 % interval"):
        shown.add_column(column, justify="right" if column == "volatility" else "left")
    for forecast in forecasts:
        for row in forecast["horizons"]:
            low, lower, _, upper, high = row["volatility_quantiles"].values()
            shown.add_row(
                forecast["symbol"] or "-",
                forecast["origin"],
                "1 bar" if row["horizon"] == 1 else f"{row['horizon']} bars",
                f"{row['volatility']:.1%}",
                f"{lower:.1%} to {upper:.1%}",
                f"{low:.1%} to {high:.1%}",
            )
    Console().print(shown)
    used = ", ".join(f"{kind} {weight:.2f}" for kind, weight in forecasts[0]["members"].items())
    click.echo(f"members: {used}; {year:g} bars a year")


def _forecast(engine: Engine, series: BarSeries, bars_per_year: float) -> dict[str, Any]:
    import numpy as np

    from predictors.core.errors import DataError
    from predictors.core.window import OhlcvWindow

    needed = engine.spec.window_bars
    if len(series.bars) < needed:
        who = f"symbol '{series.symbol}'" if series.symbol else "the file"
        raise DataError(f"{who} has {len(series.bars)} bars; a forecast needs the last {needed}")
    forecast = engine.forecast(OhlcvWindow(series.bars[None, -needed:]))
    levels = engine.manifest.quantile_levels
    return {
        "symbol": series.symbol,
        "origin": str(np.datetime64(int(series.timestamps[-1]), "ns").astype("datetime64[s]")).removesuffix(
            "T00:00:00"
        ),
        "members": forecast.members,
        "horizons": [
            {
                "horizon": horizon,
                "variance": float(forecast.variance[0, h]),
                "volatility": float(np.sqrt(forecast.variance[0, h] * bars_per_year)),
                "variance_quantiles": dict(zip(map(str, levels), forecast.quantiles[0, h].tolist(), strict=True)),
                "volatility_quantiles": dict(
                    zip(map(str, levels), np.sqrt(forecast.quantiles[0, h] * bars_per_year).tolist(), strict=True)
                ),
            }
            for h, horizon in enumerate(engine.manifest.horizons)
        ],
    }

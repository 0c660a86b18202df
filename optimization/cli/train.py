"""`wavecast train`: bars in, a complete release in a run folder out."""

from __future__ import annotations

import json

import click

from optimization.cli.options import busy, data_option, json_option, proxy_option, seed_option


@click.command()
@data_option
@proxy_option
@click.option("--run", "run_folder", required=True, metavar="DIR", help="Folder to create; it appears complete.")
@click.option("--bars-per-year", type=float, default=252.0, show_default=True, help="For annualised figures.")
@seed_option
@click.option("--recipe", "recipes", multiple=True, metavar="FILE", help="A recipe of 'wavecast tune'; one a kind.")
@click.option("--overwrite", is_flag=True, help="Replace the folder if it is there.")
@json_option
def train(
    data: str,
    proxy: str,
    run_folder: str,
    bars_per_year: float,
    seed: int,
    recipes: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Train xgboost, lstm and transformer, and calibrate their ensemble out of fold.

    \b
    wavecast train --data bars.csv --run runs/nasdaq
    wavecast train --data sp500.parquet --proxy parkinson --run runs/sp500
    wavecast train --data bars.csv --run runs/tuned --recipe tuned/recipe-xgboost.json
    """
    from pathlib import Path

    with busy(f"reading {data}"):
        from optimization.data import read_bars

        table = read_bars(data)  # before the slow imports: wrong bars are told at once
        from optimization.parallel import progress_bar
        from optimization.train.recipe import read_recipe
        from optimization.train.run import TrainSettings, train_run

        settings = TrainSettings(proxy, bars_per_year, seed, tuple(read_recipe(path) for path in recipes))
    with progress_bar(enabled=not as_json) as progress:
        release = train_run(table, settings, Path(run_folder), progress, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps({"release": release.release, "members": release.members, "scores": release.scores}))
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table("member", "version", "weight", title=f"release {release.release} in {run_folder}")
    weights = release.calibration(release.members).weights
    for kind, version in release.members.items():
        shown.add_row(kind, version, f"{weights[kind]:.3f}")
    Console().print(shown)
    click.echo("out-of-fold QLIKE: " + ", ".join(f"{k[6:]} {v:.4f}" for k, v in release.scores.items()))
    click.echo(f"next: wavecast publish --run {run_folder}")

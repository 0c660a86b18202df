"""`wavecast optimise`: bars in, a tuned, compressed, gated and published release out, within one time budget."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from optimization.cli.options import busy, data_option, json_option, proxy_option, seed_option, store_option

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command()
@data_option
@store_option
@click.option("--budget", default="20m", show_default=True, metavar="TIME", help="In all, as 90s, 20m or 1h.")
@click.option("--out", default=".wavecast/optimise", show_default=True, metavar="DIR", help="Folder of the report.")
@click.option("--jobs", type=int, metavar="K", help="Worker processes of a study; one a core if not given.")
@click.option(
    "--storage",
    envvar="WAVECAST_TUNE_STORAGE",
    metavar="URL",
    help="postgresql://user@host/database for the studies; a journal file in --out if not given.",
)
@proxy_option
@click.option("--bars-per-year", type=float, default=252.0, show_default=True, help="For annualised figures.")
@click.option(
    "--tune-until", metavar="DATE", help="First date that tuning does not see; 70 % of the bars if not given."
)
@click.option("--folds", type=int, metavar="N", help="Inner folds of a study; from the budget if not given.")
@click.option("--fidelity", type=float, help="Largest RMSE of a numeric step, as a part of the output's deviation.")
@click.option("--loss-ratio", type=float, help="Largest out-of-fold QLIKE, as a multiple of the uncompressed one's.")
@click.option("--significance", type=float, help="Level at which a loss counts as worse (Diebold-Mariano, one-sided).")
@click.option("--latency-ratio", type=float, help="Largest p50 at batch 1, as a multiple of the step's input.")
@seed_option
@json_option
def optimise(
    data: str,
    store: str,
    budget: str,
    out: str,
    jobs: int | None,
    storage: str | None,
    proxy: str,
    bars_per_year: float,
    tune_until: str | None,
    folds: int | None,
    fidelity: float | None,
    loss_ratio: float | None,
    significance: float | None,
    latency_ratio: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Tune the features and all members, train, compress, gate and publish, and report how it came about.

    Writes optimisation.json and optimisation.html to --out. An interrupted run resumes when it is started again with
    the same bars and settings: finished stages are kept. A step of compression that a gate refuses is left out; a
    release that a gate refuses is not published.

    \b
    wavecast optimise --data bars.csv --budget 20m
    wavecast optimise --data bars.parquet --store s3://models/wavecast --budget 2h --jobs 8 --out runs/optimise
    wavecast optimise --data bars.csv --storage postgresql://tuner@db/studies

    Exit codes: 0 published; 1 a failure (run again to resume); 2 wrong input; 3 refused by a gate, nothing published.
    """
    with busy("loading"):
        from optimization.compress.gates import GateSettings
        from optimization.optimise.run import optimise as run_optimise
        from optimization.optimise.settings import OptimiseSettings
        from optimization.tune.settings import parse_budget

    limits = {
        "fidelity": fidelity,
        "loss_ratio": loss_ratio,
        "significance": significance,
        "latency_ratio": latency_ratio,
    }
    settings = OptimiseSettings(
        data=data,
        store=store,
        out=out,
        budget_s=parse_budget(budget),
        jobs=jobs if jobs is not None else os.cpu_count() or 1,
        storage=storage,
        proxy=proxy,
        bars_per_year=bars_per_year,
        seed=seed,
        tune_until=tune_until,
        folds=folds,
        gates=GateSettings(**{name: limit for name, limit in limits.items() if limit is not None}),
    )

    def announce(stage: str, took_s: float | None) -> None:
        if not as_json:
            click.secho(f"{stage}{'' if took_s is None else f': kept, took {took_s:.0f} s'}", bold=True, err=True)

    report = run_optimise(settings, announce, show=not as_json)
    if as_json:
        click.echo(json.dumps(report, allow_nan=False))
    else:
        _show(report, out)


def _show(report: Mapping[str, Any], out: str) -> None:
    from rich.console import Console
    from rich.table import Table

    shown = Table("figure", "", "found", title=f"release {report['published']}")
    for one in report["must_hold"]:
        shown.add_row(one["what"], "met" if one["met"] else "not met", one["figure"])
    Console().print(shown)
    spent, store = report["budget"]["spent_s"], report["settings"]["store"]
    click.echo(f"published release {report['published']} to {store} after {spent / 60.0:.1f} min")
    click.echo(f"report: {out}/optimisation.html")
    click.echo(f"next: wavecast serve{'' if store == '.wavecast/store' else f' --store {store}'}")

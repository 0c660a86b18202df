"""`wavecast tune`: settings of a member, or the features of all, that forecast better than the defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from optimization.cli.options import busy, data_option, json_option, proxy_option

if TYPE_CHECKING:
    from optimization.tune.run import Tuned


@click.command()
@click.option(
    "--member",
    required=True,
    type=click.Choice(["xgboost", "lstm", "transformer", "features"]),
    help="What to tune; features: the one feature spec of all members.",
)
@data_option
@proxy_option
@click.option("--out", required=True, metavar="DIR", help="Folder for the journal, the recipe and the frontier.")
@click.option("--budget", metavar="TIME", help="In all, as 90s, 10m or 1h; 10m if --trials is not given either.")
@click.option("--trials", type=int, metavar="N", help="Trials of the search, those of earlier runs included.")
@click.option("--jobs", type=int, default=1, show_default=True, metavar="K", help="Worker processes.")
@click.option(
    "--storage",
    envvar="WAVECAST_TUNE_STORAGE",
    metavar="URL",
    help="postgresql://user@host/database; a journal file in --out if not given.",
)
@click.option("--study", help="Name in the storage; the member's if not given.")
@click.option("--features", "features_file", metavar="FILE", help="Recipe of '--member features' to tune a member on.")
@click.option("--folds", type=int, metavar="N", help="Inner folds; from the budget if not given.")
@click.option(
    "--tune-until", metavar="DATE", help="First date that tuning does not see; 70 % of the bars if not given."
)
@click.option("--max-bytes", type=int, metavar="N", help="Largest artifact; that of the defaults if not given.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    envvar="WAVECAST_TUNE_SEED",
    help="Of everything random.",
)
@json_option
def tune(
    member: str,
    data: str,
    proxy: str,
    out: str,
    budget: str | None,
    trials: int | None,
    jobs: int,
    storage: str | None,
    study: str | None,
    features_file: str | None,
    folds: int | None,
    tune_until: str | None,
    max_bytes: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Search settings on folds before --tune-until, weigh loss against latency, and compare on what follows.

    An interrupted run resumes when it is started again. Workers on several machines share --storage; in a pod of an
    Indexed Job (JOB_COMPLETION_INDEX) the process is one worker, and the first pod writes the result.

    \b
    wavecast tune --member xgboost --data bars.csv --out tuned --budget 10m --jobs 2
    wavecast tune --member features --data bars.csv --out tuned --trials 40
    wavecast tune --member lstm --data bars.csv --out tuned --features tuned/recipe-features.json \\
        --storage postgresql://tuner@db/studies
    wavecast train --data bars.csv --run runs/tuned --recipe tuned/recipe-xgboost.json

    Exit codes: 0 done; 1 no valid trial, a failed worker or a lost storage (run again to resume); 2 wrong input.
    """
    import json

    with busy("loading"):
        from optimization.parallel import progress_bar
        from optimization.train.recipe import FEATURES, follow, read_recipe
        from optimization.tune.run import tune as run_tune
        from optimization.tune.settings import DEFAULT_BUDGET_S, TuneSettings, parse_budget
        from predictors.core.errors import InvalidInput

    recipes = [] if features_file is None else [read_recipe(features_file)]
    if recipes and (recipes[0].kind != FEATURES or member == FEATURES):
        raise InvalidInput("--features takes a recipe of '--member features', and only to tune a member on it")
    settings = TuneSettings(
        kind=member,
        data=data,
        out=out,
        spec=follow(recipes, proxy).spec.to_json(),
        storage=storage,
        study=study or member,
        trials=trials,
        budget_s=parse_budget(budget) if budget else DEFAULT_BUDGET_S if trials is None else None,
        jobs=jobs,
        folds=folds,
        tune_until=tune_until,
        max_bytes=max_bytes,
        seed=seed,
    )
    with progress_bar(enabled=not as_json) as progress:
        tuned = run_tune(settings, progress)
    if tuned is None:
        click.echo("this worker is done; the first pod writes the result", err=True)
    elif as_json:
        click.echo(json.dumps(tuned.summary(), allow_nan=False))
    else:
        _print(tuned)


def _print(tuned: Tuned) -> None:
    from rich.console import Console
    from rich.table import Table

    kind, losses, console = tuned.recipe.kind, tuned.losses, Console()
    counted = ", ".join(f"{count} {what}" for what, count in tuned.trials.items() if count)
    console.print(f"study '{tuned.study}': {counted}")
    if tuned.chosen is not None:
        front = Table("trial", "loss / backbone's", "p50 µs", "/ default's", "bytes", title="frontier")
        for point in sorted((p for p in tuned.points if p.efficient), key=lambda p: p.latency.ratio):
            mark = " chosen" if point.trial == tuned.chosen.trial else ""
            latency = point.latency
            cells = (f"{point.loss:.4f}", f"{latency.microseconds:.0f}", f"{latency.ratio:.2f}", str(point.size_bytes))
            front.add_row(f"{point.trial}{mark}", *cells)
        console.print(front)
    default = "failed" if losses["default"] is None else f"{losses['default']:.4f}"
    console.print(f"inner folds: default {default}, chosen {losses['chosen']:.4f}")
    outer = Table("bars ahead", "QLIKE default", "QLIKE tuned", "DM t", "origins", title="bars that tuning never saw")
    for one in tuned.outer:
        outer.add_row(str(one.horizon), f"{one.default:.4f}", f"{one.tuned:.4f}", f"{one.t:+.2f}", str(one.origins))
    console.print(outer)
    click.echo(f"recipe: {tuned.path}")
    follows = "tune --member xgboost --features" if kind == "features" else "train --run DIR --recipe"
    click.echo(f"next: wavecast {follows} {tuned.path} --data ...")

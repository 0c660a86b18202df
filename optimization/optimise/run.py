"""`optimise` from bars to a release in a store and a report of how it came about."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from optimization.compress.gates import GateRefused, Verdict
from optimization.compress.run import CompressSettings, compress_run
from optimization.compress.steps import DEFAULT_STEPS
from optimization.data import read_bars
from optimization.data.bars import BarTable, time_text
from optimization.optimise.budget import RESERVE, WALKED_AGAIN, WEIGHTS, study_s
from optimization.optimise.lineage import lineage
from optimization.optimise.must_hold import must_hold
from optimization.optimise.page import render_page
from optimization.optimise.settings import OptimiseSettings
from optimization.optimise.stages import Result, Stages
from optimization.output import write_whole, writing
from optimization.parallel import progress_bar
from optimization.publish import publish
from optimization.train.recipe import FEATURES, Recipe, follow, read_recipe
from optimization.train.run import TrainSettings, train_run
from optimization.tune.folds import tuning_end
from optimization.tune.run import tune
from optimization.tune.settings import TuneSettings
from optimization.tune.storage import alone
from predictors.core.errors import InvalidInput, NotFound
from predictors.core.proxies import REALISED
from predictors.store import Store, newest_release

REPORT, PAGE = "optimisation.json", "optimisation.html"
BEFORE_GATES = (*(f"tune-{kind}" for kind in WEIGHTS), "train")
"""Stages that are the same whatever the gates are."""
RELEASE_GATES = ("uncompressed", "equal weights")
"""Ensembles that the one to be published is gated against."""


def optimise(
    settings: OptimiseSettings, announce: Callable[[str, float | None], None], *, show: bool = True
) -> dict[str, Any]:
    """Run or resume an optimisation, publish what passed the gates and write the report.

    Parameters
    ----------
    settings
        What the user chose.
    announce
        See `Stages`.
    show
        Progress bars.

    Returns
    -------
    The report, as in ``optimisation.json``.

    Raises
    ------
    GateRefused
        If the release does not pass a gate; the report is written and nothing is published.
    DataError, InvalidInput, StoreError, WavecastError
        As `tune`, `train_run`, `compress_run` and `publish` do, or if another one is at work on the same.
        What was finished is kept.
    """
    if settings.proxy == REALISED:
        raise InvalidInput("a release on the proxy 'realised' cannot be published; choose another --proxy")
    table = read_bars(settings.data)
    until = tuning_end(table, settings.tune_until)
    _check_store(settings.store)
    work = Path(settings.out) / f"work-{settings.key(table.fingerprint)}"
    with writing(Path(settings.out)):
        (work / "stages").mkdir(parents=True, exist_ok=True)
    with alone(work):
        return _run(settings, table, until, work, announce, show)


def _run(
    settings: OptimiseSettings,
    table: BarTable,
    until: int,
    work: Path,
    announce: Callable[[str, float | None], None],
    show: bool,
) -> dict[str, Any]:
    """All stages, in a folder that is this process's alone."""
    out, stages = Path(settings.out), Stages(work / "stages", announce)
    _tune_all(settings, table, stages, work, show)
    parents, members, gated = work / "run", work / f"compressed-{settings.gates_key}", f"compress-{settings.gates_key}"
    recipes = tuple(read_recipe(work / "tune" / f"recipe-{kind}.json") for kind in WEIGHTS)

    def train() -> Result:
        shutil.rmtree(parents, ignore_errors=True)  # a stage that was broken off after its folder was complete
        chosen = TrainSettings(settings.proxy, settings.bars_per_year, settings.seed, recipes)
        with progress_bar(enabled=show) as progress:
            release = train_run(table, chosen, parents, progress)
        return {"release": release.release, "members": release.members, "scores": release.scores}

    def compress() -> Result:
        shutil.rmtree(members, ignore_errors=True)
        left = settings.budget_s * WALKED_AGAIN - sum(stages.seconds(*BEFORE_GATES).values())
        how = CompressSettings(
            DEFAULT_STEPS, settings.gates, keep_passing=True, reference_from=until, walk_again_s=max(left, 0.0)
        )
        with progress_bar(enabled=show) as progress:
            return compress_run(str(parents), table, how, members, progress).summary()

    trained = stages.run("train", train)
    compressed = stages.run(gated, compress)
    refused = _refused(compressed)
    if not refused:
        announce("publish", None)
        publish(str(members), settings.store)  # which is nothing more where it was done
    report = _report(settings, table, until, stages, trained, compressed, refused) | {
        "lineage": lineage(Store(str(members)), Store(str(parents)))
    }
    report |= {"must_hold": [asdict(one) for one in must_hold(report)]}
    with writing(out):
        write_whole(out / REPORT, json.dumps(report, indent=2, allow_nan=False).encode() + b"\n")
        write_whole(out / PAGE, render_page(report).encode())
    if refused:
        raise GateRefused(
            f"release {compressed['release']} is refused, nothing was published: {'; '.join(refused)}; "
            f"'{out / PAGE}' has the rest"
        )
    return report


def _check_store(uri: str) -> None:
    """A store that cannot be reached is said before anything is computed."""
    with suppress(NotFound):
        newest_release(Store(uri))


def _tune_all(settings: OptimiseSettings, table: BarTable, stages: Stages, work: Path, show: bool) -> None:
    """The features first, then every member on them."""
    for kind in WEIGHTS:
        chosen = [] if kind == FEATURES else [read_recipe(work / "tune" / f"recipe-{FEATURES}.json")]

        def study(kind: str = kind, chosen: list[Recipe] = chosen) -> Result:
            spent = sum(stages.seconds(*BEFORE_GATES).values())
            how = TuneSettings(
                kind=kind,
                data=settings.data,
                out=str(work / "tune"),
                spec=follow(chosen, settings.proxy).spec.to_json(),
                storage=settings.storage,
                study=f"{kind}-{work.name.removeprefix('work-')}",
                budget_s=study_s(settings.budget_s, spent, kind),
                jobs=settings.jobs,
                folds=settings.folds,
                tune_until=settings.tune_until,
                seed=settings.seed,
            )
            with progress_bar(enabled=show) as progress:
                tuned = tune(how, progress)
            assert tuned is not None, "only pods of an Indexed Job have no result"
            return tuned.summary() | {"budget_s": how.budget_s}

        if stages.run(f"tune-{kind}", study)["provenance"]["data_fingerprint"] != table.fingerprint:
            raise InvalidInput(f"'{settings.data}' changed while it was read; run again")


def _refused(compressed: Result) -> list[str]:
    """The gates of the release that were not passed."""
    verdicts = (Verdict(**one) for name in RELEASE_GATES for one in compressed["ensemble"]["verdicts"][name])
    return [str(verdict) for verdict in verdicts if not verdict.passed]


def _report(
    settings: OptimiseSettings,
    table: BarTable,
    until: int,
    stages: Stages,
    trained: Result,
    compressed: Result,
    refused: list[str],
) -> dict[str, Any]:
    studies = {kind: stages.result(f"tune-{kind}") for kind in WEIGHTS}
    gated = f"compress-{settings.gates_key}"
    seconds = stages.seconds(*BEFORE_GATES) | {"compress": stages.seconds(gated)[gated]}
    return {
        "data": {
            "source": table.source,
            "fingerprint": table.fingerprint,
            "bars": sum(len(series.bars) for series in table.series),
            "symbols": [series.symbol for series in table.series],
            "tuned_until": time_text(until),
        },
        "settings": {k: v for k, v in asdict(settings).items() if k not in ("storage", "out")}
        | {"storage": "journal" if settings.storage is None else "postgresql", "cores": os.cpu_count()},
        "budget": {
            "budget_s": settings.budget_s,
            "spent_s": sum(seconds.values()),
            "stages_s": seconds,
            "reserve": RESERVE,
            "weights": WEIGHTS,
        },
        "studies": studies,
        "trained": trained,
        "compressed": compressed,
        "published": None if refused else compressed["release"],
        "refused": refused,
        "libraries": {name: version(name) for name in ("wavecast", "optuna", "onnxruntime", "torch", "xgboost-cpu")},
    }

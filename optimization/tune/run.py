"""`tune` from bars to a recipe: search, frontier, and the comparison on the bars that it never saw."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import BaseStorage, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.progress import Progress

from optimization.data import read_bars
from optimization.data.bars import BarTable, time_text
from optimization.output import write_whole, writing
from optimization.parallel import limit_threads, pulse
from optimization.rows import make_rows
from optimization.train.members import LEARNERS, learner_from, recipe_of
from optimization.train.recipe import FEATURES, Recipe
from optimization.train.xgboost import BoostedLearner
from optimization.tune.crew import Crew
from optimization.tune.early_stopping import stopped
from optimization.tune.folds import Blocks, before, make_folds, most_folds, plan_blocks, timeline, tuning_end
from optimization.tune.frontier import Point, choose, explore, frontier_study, side_by_side, upper_bound
from optimization.tune.outer import Candidate, Outcome, compare
from optimization.tune.picture import frontier_svg
from optimization.tune.search import make_objective
from optimization.tune.settings import TuneSettings
from optimization.tune.spaces import MEMBER_SPACES, features
from optimization.tune.storage import alone, experiments, give_up, making, open_storage, storage_errors
from optimization.tune.study import (
    CLOSED,
    ERROR,
    RECIPE,
    STOPPED_AFTER,
    Identity,
    code_version,
    done,
    open_study,
    running,
    scored,
    spent_s,
    trial_s,
    waiting,
    winner,
)
from optimization.tune.worker import INDEX, wanted, work
from predictors.core.errors import InvalidInput
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

SEARCH_SHARE, FRONTIER_SHARE = 0.6, 0.2
"""Parts of the budget; the rest is for reading, and for the comparison on the outer window, which is never cut."""
WANTED_TRIALS = 30
"""The folds are as many as the budget allows this many trials, within limits."""
FEWEST_FOLDS, DEFAULT_FOLDS, MOST_FOLDS = 6, 8, 12
"""With few pairs no test can tell a gain from luck: a signed-rank test at 0.1 rejects nothing below 4."""
FRONTIER_TRIALS = 16
"""Without a time limit."""
_IMPORTANCE_TRIALS = 10


@dataclass(frozen=True, slots=True)
class Tuned:
    """What `tune` found.

    Attributes
    ----------
    recipe
        The choice.
    path
        Its file.
    study
        Name of the search.
    losses
        ``default`` and ``chosen``: relative to the backbone's over the inner folds, as exact
        settings (stage 2; for features, of the search); ``None`` if the default failed.
    trials
        How many were scored in full, stopped by the pruner, failed by themselves, and lost with their worker.
    points
        Of the frontier; empty for features.
    outer
        Default against tuned by horizon.
    importances
        Of the search's parameters; empty with too few trials.
    """

    recipe: Recipe
    path: Path
    study: str
    losses: dict[str, float | None]
    trials: dict[str, int]
    points: list[Point]
    chosen: Point | None
    outer: list[Outcome]
    importances: dict[str, float]

    def summary(self) -> dict[str, Any]:
        """Plain JSON, as `tune --json` prints it."""
        return {
            "member": self.recipe.kind,
            "study": self.study,
            "recipe": str(self.path),
            "losses": self.losses,
            "trials": self.trials,
            "importances": self.importances,
            "frontier": [asdict(point) for point in self.points],
            "chosen_trial": None if self.chosen is None else self.chosen.trial,
            "outer": [asdict(outcome) for outcome in self.outer],
            "provenance": self.recipe.provenance,
        }


def tune(settings: TuneSettings, progress: Progress) -> Tuned | None:
    """Run or resume a study and write what it chose to ``settings.out``.

    Returns
    -------
    ``None`` in a pod of an Indexed Job other than the first, which only does trials.

    Raises
    ------
    DataError
        If there are too few bars for the folds.
    InvalidInput
        If the study was made for something else, or the settings do not fit together.
    StoreError
        If the storage or the folder cannot be used.
    WavecastError
        If no trial is valid; the study stays as it is.
    """
    began = time.time()
    limit_threads()
    out = Path(settings.out)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    index = os.environ.get(INDEX)
    if index is not None and settings.storage is None:
        raise InvalidInput(f"{INDEX} is set: workers of an Indexed Job share a study on PostgreSQL; pass --storage")
    with ExitStack() as stack:
        lock = None if settings.storage else stack.enter_context(alone(out))
        stack.enter_context(storage_errors(settings.storage, out))
        with pulse(progress, "reading bars"):
            table = read_bars(settings.data)
            end = tuning_end(table, settings.tune_until)
            seen = before(table, end)
        with making(settings.storage, out):
            storage = stack.enter_context(open_storage(settings.storage, out, settings.heartbeat_s))
            study, identity = _open(settings, storage, table, seen, end)
        if index is None:
            _search(settings, study, lock, progress)
        else:
            _work_in_pod(settings, int(index), study, seen, identity, began)
            if int(index) > 0:
                return None
        return _conclude(settings, storage, study, table, seen, identity, progress)


def _open(
    settings: TuneSettings, storage: BaseStorage, table: BarTable, seen: BarTable, end: int
) -> tuple[Study, Identity]:
    expected = {
        "kind": settings.kind,
        "data_fingerprint": table.fingerprint,
        "spec_hash": settings.feature_spec.hash,
        "tune_until": end,
        "seed": settings.seed,
        "code_version": code_version(),
    }
    first = features.DEFAULTS if settings.kind == FEATURES else MEMBER_SPACES[settings.kind].defaults
    return open_study(settings.study, storage, expected, settings.folds, lambda: _plan_blocks(settings, seen), first)


def _plan_blocks(settings: TuneSettings, seen: BarTable) -> Blocks:
    """Blocks of a new study; their number follows from what a fold costs, measured on the default settings."""
    bars = len(timeline(seen))
    if settings.folds is not None:
        return plan_blocks(bars, settings.folds)
    few = plan_blocks(bars, min(max(most_folds(bars), 2), DEFAULT_FOLDS))
    if settings.budget_s is None or settings.kind == FEATURES:
        return few  # the features cost the same for any number of folds
    spec = settings.feature_spec
    fold = make_folds(make_rows(seen, spec, series_features), spec, (few[len(few) // 2],))[0]
    learner = LEARNERS[settings.kind]
    began = time.perf_counter()
    if isinstance(learner, BoostedLearner):
        learner = stopped(learner, fold, settings.seed)
    fold.score(learner, settings.seed)
    fold_s = time.perf_counter() - began
    affordable = int(SEARCH_SHARE * settings.budget_s * settings.jobs / (WANTED_TRIALS * fold_s))
    return plan_blocks(bars, min(max(affordable, FEWEST_FOLDS), MOST_FOLDS, most_folds(bars)))


def _deadline(settings: TuneSettings, study: Study) -> float:
    """Seconds since the epoch; what earlier runs spent on the search counts."""
    if settings.budget_s is None:
        return float("inf")
    return time.time() + SEARCH_SHARE * settings.budget_s - spent_s(study) / settings.jobs


def _search(settings: TuneSettings, study: Study, lock: int | None, progress: Progress) -> None:
    if lock is not None:
        for trial in running(study):
            give_up(study, trial)  # nobody else can be at it
    study.set_user_attr(CLOSED, False)
    deadline = _deadline(settings, study)
    bar = progress.add_task(f"{settings.kind} trials", total=settings.trials)

    def watch() -> None:
        ended = len(done(study))
        total = settings.trials
        if total is None:
            each = trial_s(study)
            total = ended + int(max(deadline - time.time(), 0.0) * settings.jobs / each) if each else None
        best = scored(study)
        name = f"{settings.kind} trials" + (f", best loss {best[0].values[0]:.4f}" if best else "")
        progress.update(bar, completed=ended, total=total, description=name)

    Crew(settings, study, deadline, lock).run(watch)
    watch()


def _work_in_pod(
    settings: TuneSettings, index: int, study: Study, seen: BarTable, identity: Identity, began: float
) -> None:
    """Do trials in this process; the first pod then waits for the others' and closes the search."""
    deadline = float("inf") if settings.budget_s is None else began + SEARCH_SHARE * settings.budget_s
    objective = make_objective(settings.kind, seen, settings.feature_spec, identity.folds, settings.seed)
    if index == 0:
        study.set_user_attr(CLOSED, False)
    work(settings, index, deadline, study, objective)
    while index == 0 and (running(study) or (waiting(study) and wanted(study, settings.trials, deadline))):
        time.sleep(settings.heartbeat_s / 4)
        with experiments():
            fail_stale_trials(study)
        work(settings, index, deadline, study, objective)
    if index == 0:
        study.set_user_attr(CLOSED, True)


def _conclude(
    settings: TuneSettings,
    storage: BaseStorage,
    study: Study,
    table: BarTable,
    seen: BarTable,
    identity: Identity,
    progress: Progress,
) -> Tuned:
    best = winner(study)
    points: list[Point] = []
    chosen = None
    spec, provenance = settings.feature_spec, _provenance(study, best, table, identity)
    if settings.kind == FEATURES:
        better = _clearly_better(best, len(scored(study)))
        found = FeatureSpec.from_json(best.user_attrs[RECIPE]) if better else spec
        recipe = Recipe(FEATURES, found, {}, provenance | {"spec_hash": found.hash, "kept_default": not better})
        candidates = Candidate(spec, None), Candidate(found, None)
        losses: dict[str, float | None] = {"default": 1.0, "chosen": best.values[0] if better else 1.0}
    else:
        points = _frontier(settings, storage, study, seen, identity, best, progress)
        chosen = choose(points, recipe_of(LEARNERS[settings.kind]))
        recipe = Recipe(settings.kind, spec, chosen.recipe, provenance | _measured(chosen))
        candidates = (
            Candidate(spec, LEARNERS[settings.kind]),
            Candidate(spec, learner_from(settings.kind, chosen.recipe)),
        )
        losses = {"default": _default_loss(settings.kind, points), "chosen": chosen.loss}
    outer = compare(table, identity.tune_until, *candidates, settings.seed, progress)
    path = Path(settings.out) / f"recipe-{settings.kind}.json"
    tuned = Tuned(recipe, path, settings.study, losses, _counts(study), points, chosen, outer, _importances(study))
    _write(tuned, path)
    return tuned


def _clearly_better(best: FrozenTrial, tries: int) -> bool:
    """Whether the folds show, at 5 % / ``tries``, that a spec is better than the default; else the default is kept.

    Every member is trained anew for another spec, so nothing is changed for noise, and the best of
    many trials is partly the luckiest.
    """
    return upper_bound(np.array(list(best.intermediate_values.values())) - 1.0, tries) < 0.0


def _frontier(
    settings: TuneSettings,
    storage: BaseStorage,
    search: Study,
    seen: BarTable,
    identity: Identity,
    best: FrozenTrial,
    progress: Progress,
) -> list[Point]:
    spec = settings.feature_spec
    last = make_folds(make_rows(seen, spec, series_features), spec, identity.folds[-1:])[0]
    study = frontier_study(f"{settings.study}-frontier-{best.number}", storage, settings.kind, settings.seed)
    allowed_s = None if settings.budget_s is None else FRONTIER_SHARE * settings.budget_s
    most = FRONTIER_TRIALS if settings.trials is None else min(settings.trials, FRONTIER_TRIALS)
    bar = progress.add_task(f"{settings.kind} frontier", total=most if allowed_s is None else None)

    def more(frontier: Study) -> bool:
        ended = len(done(frontier))
        progress.update(bar, completed=ended)
        if allowed_s is None or settings.trials is not None:
            return ended < most and (allowed_s is None or spent_s(frontier) < allowed_s)
        return spent_s(frontier) + trial_s(frontier) < allowed_s

    tuned = learner_from(settings.kind, best.user_attrs[RECIPE])
    with side_by_side(seen, spec, identity.folds, settings.seed, settings.jobs) as evaluate:
        points = explore(
            study,
            settings.kind,
            spec,
            last,
            evaluate,
            tuned,
            len(scored(search)),
            settings.seed,
            settings.max_bytes,
            more,
        )
    progress.update(bar, total=len(points), completed=len(points))
    return points


def _default_loss(kind: str, points: list[Point]) -> float | None:
    default = recipe_of(LEARNERS[kind])
    return next((point.loss for point in points if point.recipe == default), None)


def _provenance(study: Study, best: FrozenTrial, table: BarTable, identity: Identity) -> dict[str, Any]:
    return {
        "study": study.study_name,
        "trial": best.number,
        "loss": best.values[0],
        "data": table.source,
        "tune_until": time_text(identity.tune_until),
        **{k: v for k, v in identity.as_json().items() if k not in ("kind", "tune_until")},
    }


def _measured(chosen: Point) -> dict[str, Any]:
    return {
        "frontier_trial": chosen.trial,
        "frontier_loss": chosen.loss,
        "latency": asdict(chosen.latency),
        "size_bytes": chosen.size_bytes,
    }


def _counts(study: Study) -> dict[str, int]:
    ended = done(study)
    failed = sum(ERROR in trial.user_attrs for trial in ended)
    stopped_early = sum(STOPPED_AFTER in trial.user_attrs for trial in ended)
    lost = sum(trial.state.name == "FAIL" and ERROR not in trial.user_attrs for trial in study.trials)
    return {"scored": len(ended) - failed - stopped_early, "stopped": stopped_early, "failed": failed, "lost": lost}


def _importances(study: Study) -> dict[str, float]:
    """Share of each parameter in what separates good trials (Watanabe et al. 2023, arXiv:2304.10255)."""
    if len(scored(study)) < _IMPORTANCE_TRIALS:
        return {}
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return {name: float(np.round(value, 4)) for name, value in found.items()}


def _write(tuned: Tuned, path: Path) -> None:
    kind = tuned.recipe.kind
    with writing(path.parent):
        write_whole(path, tuned.recipe.to_json().encode())
        summary = json.dumps(tuned.summary(), indent=2, sort_keys=True, allow_nan=False) + "\n"
        write_whole(path.with_name(f"tune-{kind}.json"), summary.encode())
        if tuned.chosen is not None:
            picture = frontier_svg(tuned.points, tuned.chosen)
            write_whole(path.with_name(f"frontier-{kind}.svg"), picture.encode())

"""Stage 2: what accuracy costs at serving time, and which point of that frontier is chosen.

Two objectives, the loss of the search and the served latency, with the size of the artifact as a
constraint. The folds of a candidate are fitted side by side; then its latency is measured with
nothing beside it, one candidate after the other.

The rule of choice. Losses over a dozen folds are noisy, the gains over the backbone are small, and
the best of many candidates is partly the luckiest. So a candidate has to show that it is no worse
than the default settings: the upper 95 % bound of the mean of the paired differences of their folds
(Student's t) is at most 0.2 % of the default's loss. Around the winner of a search of N trials that
bound is the one at 5 % / N, for its luck (Bonferroni). What shows that and is small enough is
eligible. Of the eligible points that no other eligible point beats, those are left whose loss is no
higher than the default's (or within 0.05 % of the least); of these the one with the least sum of
loss and price of latency is chosen, both relative to the default's: a tenth of the default's p50 is
worth 0.05 % of its loss. So a faster model of the same loss always wins, speed is never paid for
with a loss above the default's, and no accuracy is given away for microseconds that nobody feels.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import t as student

from optimization.data.bars import BarTable
from optimization.parallel import start_worker
from optimization.rows import make_rows
from optimization.train.learner import Learner
from optimization.train.members import LEARNERS, recipe_of
from optimization.tune.folds import Blocks, Fold, make_folds
from optimization.tune.latency import CALLS, Latency, measure
from optimization.tune.spaces import MEMBER_SPACES
from optimization.tune.storage import give_up
from optimization.tune.study import ERROR, OWN_ERRORS, RECIPE, make_sampler, running
from optimization.walkforward import member_model
from predictors.core.errors import WavecastError
from predictors.members.onnx_member import OnnxMember
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

MARGIN = 0.002
"""Part of the default's loss that a candidate may be worse by: about half of what members gain on the backbone."""
CONFIDENCE = 0.95
SPEED_COST = 0.0005
"""Part of its loss that a tenth of the default's latency is worth: about a tenth of that gain."""

Evaluate = Callable[[Learner], tuple[list[float], bytes]]
"""Losses of a candidate by fold, and its model of the last."""

_DEFAULT, _TUNED = "default", "tuned"


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate of the frontier.

    Attributes
    ----------
    trial
        Its number in the study.
    base
        What it is a size of: the ``default`` settings, or the ``tuned`` ones, the winner of the search.
    recipe
        Its settings.
    loss, fold_losses
        As in `optimization.tune.search`.
    latency
        Of the exported member beside the default's.
    size_bytes
        Of the exported member.
    feasible
        Whether it is small enough.
    eligible
        Feasible, and shown to be no worse than the default settings; see the module.
    efficient
        Eligible, and no eligible point is as good in both loss and latency and better in one.
    """

    trial: int
    base: str
    recipe: dict[str, Any]
    loss: float
    fold_losses: tuple[float, ...]
    latency: Latency
    size_bytes: int
    feasible: bool
    eligible: bool = False
    efficient: bool = False


def explore(
    study: Study,
    kind: str,
    spec: FeatureSpec,
    last: Fold,
    evaluate: Evaluate,
    tuned: Learner,
    searched: int,
    seed: int,
    max_bytes: int | None,
    more: Callable[[Study], bool],
) -> list[Point]:
    """Evaluate sizes around the default and the tuned settings.

    Parameters
    ----------
    study
        Of two objectives; resumed if it has trials.
    kind, spec, seed
        Of the search.
    last
        Its last fold, whose block is what latency is measured on.
    evaluate
        See `side_by_side`.
    tuned, searched
        The winner of stage 1, and of how many trials.
    max_bytes
        Largest artifact; ``None`` for that of the default settings.
    more
        Whether another trial is to be done; the default and the winner always are.

    Returns
    -------
    In order of trial, the eligible and the efficient ones marked.

    Raises
    ------
    WavecastError
        If no candidate could be evaluated.
    """
    space = MEMBER_SPACES[kind]
    bases = {_DEFAULT: LEARNERS[kind], _TUNED: tuned}
    reference_model = member_model(last.backbone, bases[_DEFAULT], last.fit(bases[_DEFAULT], seed))
    reference = OnnxMember(reference_model)
    limit = len(reference_model) if max_bytes is None else max_bytes

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        try:
            base = bases[trial.suggest_categorical("base", list(bases))]
            learner = space.suggest_size(trial, base, spec)
            losses, model = evaluate(learner)
            latency = measure(OnnxMember(model), reference, last.test.tabular[:CALLS], last.test.sequence[:CALLS])
        except OWN_ERRORS as wrong:
            trial.set_user_attr(ERROR, str(wrong))
            raise
        trial.set_constraint("bytes", len(model) - limit)
        kept = {RECIPE: recipe_of(learner), "fold_losses": losses, "latency": asdict(latency), "size_bytes": len(model)}
        for name, value in kept.items():
            trial.set_user_attr(name, value)
        return float(np.mean(losses)), latency.ratio

    for trial in running(study):
        give_up(study, trial)  # this process is the only one that works on it, so it was killed
    if not study.get_trials(deepcopy=False):
        sizes = {name: space.size_of(learner) for name, learner in bases.items()}
        for name, size in sizes.items():
            study.enqueue_trial({"base": name, **size})
        for setting in space.halved:
            for name in bases:
                sizes[name] = {**sizes[name], setting: max(1, sizes[name][setting] // 2)}
                study.enqueue_trial({"base": name, **sizes[name]})
    while len(_complete(study)) + len(_failed(study)) < len(bases) or more(study):
        study.optimize(objective, n_trials=1, catch=OWN_ERRORS)
    points = [_point(trial, limit) for trial in _complete(study)]
    if not points:
        raise WavecastError(f"study '{study.study_name}' has no valid trial: {_failed(study)[-1].user_attrs[ERROR]}")
    return mark(points, recipe_of(bases[_DEFAULT]), searched)


@contextmanager
def side_by_side(seen: BarTable, spec: FeatureSpec, blocks: Blocks, seed: int, jobs: int) -> Iterator[Evaluate]:
    """Processes that evaluate a candidate on all folds at once, and wait in between.

    Raises
    ------
    WavecastError
        If one of them dies.
    """
    context = multiprocessing.get_context("spawn")
    arguments = (seen, spec, blocks, seed)
    with ProcessPoolExecutor(min(jobs, len(blocks)), context, _hold_folds, arguments) as pool:

        def evaluate(learner: Learner) -> tuple[list[float], bytes]:
            try:
                results = list(pool.map(_evaluate, [learner] * len(blocks), range(len(blocks))))
            except BrokenProcessPool as died:  # a RuntimeError, as a trial's own errors are
                raise _Lost from died
            return [loss for loss, _ in results], results[-1][1]

        try:
            yield evaluate
        except _Lost as lost:
            raise WavecastError("a worker of the frontier died (out of memory?); run again to resume") from lost


class _Lost(Exception):
    """No trial's fault."""


_held: tuple[list[Fold], int] | None = None


def _hold_folds(seen: BarTable, spec: FeatureSpec, blocks: Blocks, seed: int) -> None:
    global _held
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    start_worker()
    _held = make_folds(make_rows(seen, spec, series_features), spec, blocks), seed


def _evaluate(learner: Learner, number: int) -> tuple[float, bytes]:
    assert _held is not None
    (folds, seed), last = _held, number == len(_held[0]) - 1
    fold = folds[number]
    fitted = fold.fit(learner, seed)
    model = member_model(fold.backbone, learner, fitted) if last else b""
    return fold.relative(fold.forecast(learner, fitted)), model


def frontier_study(name: str, storage: BaseStorage, kind: str, seed: int) -> Study:
    """Load or make the study of two objectives."""
    study = optuna.create_study(
        study_name=name, storage=storage, directions=["minimize", "minimize"], load_if_exists=True
    )
    study.sampler = make_sampler("frontier", seed, 0, study)
    return study


def mark(points: Sequence[Point], default: dict[str, Any], searched: int) -> list[Point]:
    """The points with `Point.eligible` and `Point.efficient` set, against those of the ``default`` recipe.

    ``searched`` is the number of trials whose winner the tuned settings are.

    If the default has no point, because its trial failed, whatever is feasible is eligible.
    """
    incumbent = next((point for point in points if point.recipe == default), None)

    def eligible(point: Point) -> bool:
        tries = searched if point.base == _TUNED else 1
        return point.feasible and (incumbent is None or no_worse(point, incumbent, tries))

    judged = [replace(point, eligible=eligible(point)) for point in points]

    def beaten(one: Point) -> bool:
        mine = (one.loss, one.latency.ratio)
        others = [(p.loss, p.latency.ratio) for p in judged if p.eligible]
        return any(o[0] <= mine[0] and o[1] <= mine[1] and o != mine for o in others)

    return [replace(point, efficient=point.eligible and not beaten(point)) for point in judged]


def choose(points: Sequence[Point], default: dict[str, Any]) -> Point:
    """The efficient point that is the best bargain beside the ``default`` recipe; see the module.

    Raises
    ------
    WavecastError
        If no point is eligible.
    """
    efficient = [point for point in points if point.efficient]
    if not efficient:
        smallest = min(point.size_bytes for point in points)
        raise WavecastError(
            "no candidate is both within the size limit and no worse than the default settings; "
            f"the smallest artifact has {smallest} bytes: raise --max-bytes"
        )
    least = min(point.loss for point in efficient)
    incumbent = next((point.loss for point in points if point.recipe == default), least)
    limit = max(least * (1.0 + SPEED_COST), incumbent)
    return min(
        (p for p in efficient if p.loss <= limit),
        key=lambda p: (p.loss / incumbent + 10.0 * SPEED_COST * p.latency.ratio, p.trial),
    )


def no_worse(point: Point, incumbent: Point, tries: int) -> bool:
    """Whether the folds show that a point costs at most 0.2 % of the incumbent's loss."""
    difference = np.array(point.fold_losses) - np.array(incumbent.fold_losses)
    return upper_bound(difference, tries) <= MARGIN * incumbent.loss


def upper_bound(differences: NDArray[np.float64], tries: int) -> float:
    """One-sided bound of the mean of paired differences (K,), by Student's t, at 5 % / ``tries``."""
    count = len(differences)
    quantile = student.isf((1.0 - CONFIDENCE) / tries, count - 1)
    return float(differences.mean() + quantile * differences.std(ddof=1) / np.sqrt(count))


def _complete(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _failed(study: Study) -> list[FrozenTrial]:
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return [trial for trial in failed if ERROR in trial.user_attrs]


def _point(trial: FrozenTrial, limit: int) -> Point:
    kept = trial.user_attrs
    return Point(
        trial=trial.number,
        base=trial.params["base"],
        recipe=kept[RECIPE],
        loss=trial.values[0],
        fold_losses=tuple(kept["fold_losses"]),
        latency=Latency(**kept["latency"]),
        size_bytes=kept["size_bytes"],
        feasible=kept["size_bytes"] <= limit,
    )

"""Stage 1: what one trial of the search is, and its loss.

The loss of a trial is the mean over the folds, and over the horizons within a fold, of its QLIKE
divided by the backbone's in the same fold, so that calm and wild blocks, and both horizons, weigh
alike: 0.99 is one per cent better than the backbone. Folds are forecast in an order of the trial's
own. After each, the pruner compares the folds done with the same folds of the best trial; a trial
that it stops is told with the mean of the folds it has (worse than the best by the pruner's own
rule), because the samplers learn from it that way; it never wins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from optuna import Trial

from optimization.data.bars import BarTable
from optimization.rows import make_rows
from optimization.train.learner import Learner
from optimization.train.members import recipe_of
from optimization.train.recipe import FEATURES
from optimization.train.xgboost import BoostedLearner
from optimization.tune.early_stopping import stopped
from optimization.tune.folds import Blocks, Fold, make_folds
from optimization.tune.spaces import MEMBER_SPACES, features
from optimization.tune.study import RECIPE, STOPPED_AFTER
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

Objective = Callable[[Trial], float]


def make_objective(kind: str, table: BarTable, spec: FeatureSpec, blocks: Blocks, seed: int) -> Objective:
    """The objective of a kind on the bars before ``tune_until``."""
    folds = make_folds(make_rows(table, spec, series_features), spec, blocks)
    if kind == FEATURES:
        return FeatureSearch(table, spec.proxy, blocks, tuple(fold.reference for fold in folds), seed)
    return MemberSearch(kind, spec, folds, seed)


@dataclass(frozen=True, slots=True)
class MemberSearch:
    """Objective of a member: its loss over folds that were fitted once."""

    kind: str
    spec: FeatureSpec
    folds: list[Fold]
    seed: int

    def __call__(self, trial: Trial) -> float:
        """Loss of one trial; its recipe is kept with it."""
        learner = MEMBER_SPACES[self.kind].suggest(trial, self.spec)
        rounds: list[int] = []

        def score(fold: int) -> float:
            fitted = learner
            if isinstance(fitted, BoostedLearner):
                fitted = stopped(fitted, self.folds[fold], self.seed)
                rounds.append(fitted.rounds)
            return self.folds[fold].score(fitted, self.seed)

        loss = _mean_over_folds(trial, len(self.folds), score, self.seed)
        trial.set_user_attr(RECIPE, recipe_of(_settled(learner, rounds)))
        return loss


@dataclass(frozen=True, slots=True)
class FeatureSearch:
    """Objective of the feature spec: the backbone's loss on a trial's features, relative to ``reference``."""

    table: BarTable
    proxy: str
    blocks: Blocks
    reference: tuple[NDArray[np.float64], ...]
    seed: int

    def __call__(self, trial: Trial) -> float:
        """Loss of one trial; its spec is kept with it."""
        spec = features.suggest(trial, self.proxy)
        folds = make_folds(make_rows(self.table, spec, series_features), spec, self.blocks, self.reference)
        loss = _mean_over_folds(trial, len(folds), lambda fold: folds[fold].relative(folds[fold].linear), self.seed)
        trial.set_user_attr(RECIPE, spec.to_json())
        return loss


def _settled(learner: Learner, rounds: list[int]) -> Learner:
    """The learner with the rounds of the median fold."""
    if isinstance(learner, BoostedLearner):
        return replace(learner, rounds=int(np.median(rounds)))
    return learner


def _mean_over_folds(trial: Trial, count: int, score: Callable[[int], float], seed: int) -> float:
    scores = []
    for fold in np.random.default_rng([seed, trial.number]).permutation(count).tolist():
        scores.append(score(fold))
        trial.report(scores[-1], fold)
        if len(scores) < count and trial.should_prune():
            trial.set_user_attr(STOPPED_AFTER, len(scores))
            break
    return float(np.mean(scores))

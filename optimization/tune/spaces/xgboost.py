"""What of the boosted residual is searched. The rounds are not: early stopping finds them in each fold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from optuna.trial import BaseTrial

from optimization.train.xgboost import XGBOOST, BoostedLearner
from predictors.wavelet.spec import FeatureSpec

DEFAULTS: dict[str, Any] = {
    "max_depth": XGBOOST.max_depth,
    "eta": XGBOOST.eta,
    "subsample": XGBOOST.subsample,
    "colsample": XGBOOST.colsample,
    "min_child_weight": XGBOOST.min_child_weight,
    "penalty": XGBOOST.penalty,
    "share_h1": XGBOOST.share[0],
    "share_h5": XGBOOST.share[1],
}
HALVED = ("bags", "rounds")
_ETA_BOUNDS = (0.005, 0.15)


def suggest(trial: BaseTrial, spec: FeatureSpec) -> BoostedLearner:
    """A learner of the search; its rounds are still the default's."""
    return replace(
        XGBOOST,
        max_depth=trial.suggest_int("max_depth", 2, 4),
        eta=trial.suggest_float("eta", 0.01, 0.08, log=True),
        subsample=trial.suggest_float("subsample", 0.4, 0.9),
        colsample=trial.suggest_float("colsample", 0.2, 0.8),
        min_child_weight=trial.suggest_float("min_child_weight", 10.0, 120.0, log=True),
        penalty=trial.suggest_float("penalty", 1.0, 100.0, log=True),
        share=(trial.suggest_float("share_h1", 0.2, 0.9), trial.suggest_float("share_h5", 0.05, 0.6)),
    )


def size_of(learner: BoostedLearner) -> dict[str, Any]:
    """The settings that `suggest_size` varies."""
    return {"rounds": learner.rounds, "max_depth": learner.max_depth, "bags": learner.bags}


def suggest_size(trial: BaseTrial, around: BoostedLearner, spec: FeatureSpec) -> BoostedLearner:
    """A faster or slower form of a learner; fewer rounds learn faster, so that rounds x eta stays."""
    rounds = trial.suggest_int("rounds", 5, 400, log=True)
    low, high = _ETA_BOUNDS
    return replace(
        around,
        rounds=rounds,
        eta=around.eta if rounds == around.rounds else min(max(around.eta * around.rounds / rounds, low), high),
        max_depth=trial.suggest_int("max_depth", 2, 4),
        bags=trial.suggest_int("bags", 1, 4),
    )

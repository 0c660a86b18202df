"""How many boosting rounds a fold's own training rows ask for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xgboost

from optimization.rows import Rows
from optimization.train.xgboost import BoostedLearner
from optimization.tune.folds import Fold

HELD_OUT_SHARE = 0.15
FEWEST_ROUNDS, MOST_ROUNDS = 10, 400
"""A curve's first dips are noise: fewer rounds than the least are never taken."""
PATIENCE_ROUNDS = 30


def stopped(learner: BoostedLearner, fold: Fold, seed: int) -> BoostedLearner:
    """The learner with the rounds at which its error on the last part of a fold's training rows is least.

    The last 15 % of the rows are held out; before them, rows whose target had not matured when the
    held-out part begins are purged. The error is that of the squared residual relative to none,
    averaged over the horizons, which share one number of rounds. The block is not looked at.
    """
    past, residual = fold.past, fold.residual
    begin = _begin(past)
    curves = []
    for h in range(residual.shape[1]):
        known = np.isfinite(residual[:, h])
        train = known & (past.matured[:, h] <= begin)
        later = known & (past.origin >= begin)
        held_out = xgboost.DMatrix(past.tabular[later], residual[later, h], nthread=1)
        history: dict[str, dict[str, list[float]]] = {}
        xgboost.train(
            learner.parameters(int(np.random.SeedSequence([seed, h]).generate_state(1)[0] >> 1)),
            xgboost.DMatrix(past.tabular[train], residual[train, h], nthread=1),
            MOST_ROUNDS,
            evals=[(held_out, "held_out")],
            evals_result=history,
            early_stopping_rounds=PATIENCE_ROUNDS,
            verbose_eval=False,
        )
        curves.append(np.square(history["held_out"]["rmse"]) / np.mean(np.square(residual[later, h])))
    ended = min(len(curve) for curve in curves)
    mean = np.mean([curve[FEWEST_ROUNDS - 1 : ended] for curve in curves], axis=0)
    return replace(learner, rounds=FEWEST_ROUNDS + int(np.argmin(mean)))


def _begin(past: Rows) -> int:
    """Timeline position at which the held-out part begins."""
    return int(past.origin[int((1.0 - HELD_OUT_SHARE) * len(past))])

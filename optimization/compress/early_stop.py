"""Boosters cut to the round that forecast the end of the training rows best."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xgboost

from optimization.metrics.diebold_mariano import diebold_mariano_panel
from optimization.rows import FEWEST_ROWS, HORIZONS, Rows
from optimization.train.learner import Fitted
from optimization.train.trained import Trained
from optimization.train.xgboost import BoostedResidual

VALIDATION_SHARE = 0.2
"""Of the training rows, the last."""
CERTAINTY = 0.001
"""Level at which later rounds must be worse: a walk-forward asks some hundred times."""


def early_stop(current: Fitted, parent: Trained, past: Rows, seed: int) -> BoostedResidual:
    """Slice every horizon's boosters to their best round.

    The round is found with a second fit, on rows whose targets had matured before the validation
    rows begin. A history too short for that keeps all rounds.
    """
    assert isinstance(current, BoostedResidual)
    cut = int(np.quantile(past.origin, 1.0 - VALIDATION_SHARE))
    if (past.matured <= cut).sum(axis=0).min() < FEWEST_ROWS:
        return current
    first, last = past.matured_by(cut), past.take(past.origin > cut)
    residual = first.log_target - parent.backbone.log_variance(first.tabular)
    trial = parent.learner.fit(first.tabular, first.sequence, residual, seed)
    assert isinstance(trial, BoostedResidual)
    best = best_rounds(replace(parent, fitted=trial), last)
    return BoostedResidual(
        tuple(tuple(booster[:rounds] for booster in bags) for rounds, bags in zip(best, current.boosters, strict=True))
    )


def best_rounds(trial: Trained, rows: Rows) -> tuple[int, ...]:
    """Rounds of each horizon, at least 1, after which the mean of its bags has the least squared error on ``rows``.

    The last rows are few and the residual is mostly noise, so the least error is often least by
    chance: later rounds are cut only where they are significantly worse.
    """
    assert isinstance(trial.fitted, BoostedResidual)
    data = xgboost.DMatrix(rows.tabular, nthread=1)
    left = rows.log_target - trial.backbone.log_variance(rows.tabular)
    best = []
    for h, bags in enumerate(trial.fitted.boosters):
        rounds = range(bags[0].num_boosted_rounds())
        gained = [np.mean([one.predict(data, iteration_range=(r, r + 1)) for one in bags], axis=0) for r in rounds]
        errors = (left[:, h] - trial.learner.share[h] * np.cumsum(gained, axis=0, dtype=np.float64)) ** 2
        least = int(np.argmin(np.nanmean(errors, axis=1)))
        test = diebold_mariano_panel(errors[least], errors[-1], rows.timestamps, HORIZONS[h])
        best.append(least + 1 if test.p_less < CERTAINTY else len(rounds))
    return tuple(best)

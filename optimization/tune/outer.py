"""The part of the history that tuning never touched: default against tuned, walked forward as in a backtest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from optimization.data.bars import BarTable
from optimization.ensemble import smearing_factor
from optimization.metrics.diebold_mariano import diebold_mariano_panel
from optimization.metrics.losses import mean_loss, qlike
from optimization.parallel import Advance, Arrays, Task, run_tasks
from optimization.rows import HORIZONS, Rows, make_rows
from optimization.train.learner import Learner
from optimization.tune.folds import FIRST_TEST_BAR, timeline
from optimization.walkforward import Schedule, walk_forward
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

REFIT_EVERY = 66
CALIBRATION_BARS = 500
"""Forecasts before the outer window, from which each candidate's smearing is taken; fewer if the history is short."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A feature spec and a learner; ``None`` for the backbone alone."""

    spec: FeatureSpec
    learner: Learner | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One horizon on the outer window.

    Attributes
    ----------
    default, tuned
        Mean QLIKE.
    t, p_less
        Diebold-Mariano of tuned against default; negative favours tuned. 0 and .5 if they are the same.
    origins
        Loss differences used.
    """

    horizon: int
    default: float
    tuned: float
    t: float
    p_less: float
    origins: int


def compare(
    table: BarTable, tune_until: int, default: Candidate, tuned: Candidate, seed: int, progress: Progress
) -> list[Outcome]:
    """Walk both candidates over the origins from ``tune_until`` (ns, UTC) on, and test their losses.

    Both are refitted every 66 bars on all that has matured. A report, never a choice: whoever
    chooses by it has no outer window left.
    """
    start = int(np.searchsorted(timeline(table), tune_until))
    schedule = Schedule(max(start - CALIBRATION_BARS, FIRST_TEST_BAR), REFIT_EVERY)
    candidates = {"default": default} if default == tuned else {"default": default, "tuned": tuned}
    rows = {spec: make_rows(table, spec, series_features) for spec in {one.spec for one in candidates.values()}}
    tasks = [
        Task(
            f"outer window: {name}",
            len(schedule.refits(int(rows[one.spec].origin[-1]))),
            partial(_walk, rows[one.spec], one, schedule, seed),
        )
        for name, one in candidates.items()
    ]
    walked = run_tasks(tasks, None, progress)
    losses = {
        name: _losses(rows[one.spec], walked[task.name]["log_variance"], start)
        for task, (name, one) in zip(tasks, candidates.items(), strict=True)
    }
    return _outcomes({"tuned": losses["default"], **losses})


def _walk(rows: Rows, one: Candidate, schedule: Schedule, seed: int, *, advance: Advance) -> Arrays:
    return {"log_variance": walk_forward(rows, one.spec, one.learner, schedule, seed, advance)}


@dataclass(frozen=True, slots=True)
class _Losses:
    qlike: NDArray[np.float64]
    timestamps: NDArray[np.int64]
    place: NDArray[np.int64]


def _losses(rows: Rows, log_variance: NDArray[np.float64], start: int) -> _Losses:
    earlier = np.where(rows.matured < start, rows.log_target - log_variance, np.nan)
    factors = np.array([smearing_factor(earlier[:, h]) for h in range(earlier.shape[1])])
    chosen = rows.origin >= start
    losses = qlike(rows.realised[chosen], np.exp(log_variance[chosen]) * factors)
    # Origins of a symbol that begins late differ between specs of different windows.
    return _Losses(losses, rows.timestamps[chosen], rows.origin[chosen] * (rows.symbol.max() + 1) + rows.symbol[chosen])


def _outcomes(losses: Mapping[str, _Losses]) -> list[Outcome]:
    default, tuned = losses["default"], losses["tuned"]
    _, ours, theirs = np.intersect1d(default.place, tuned.place, return_indices=True)
    out = []
    for h, horizon in enumerate(HORIZONS):
        a, b = tuned.qlike[theirs, h], default.qlike[ours, h]
        test = diebold_mariano_panel(a, b, default.timestamps[ours], horizon)
        out.append(Outcome(horizon, mean_loss(b).mean, mean_loss(a).mean, test.t, test.p_less, test.n))
    return out

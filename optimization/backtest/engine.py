"""From bars to out-of-sample forecasts of every model: plan, walk the members, combine with what had matured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from optimization.adaptive import adaptive_quantiles
from optimization.backtest.settings import BacktestSettings, Plan, make_plan
from optimization.backtest.tasks import (
    FIRST_OWN_BAR,
    LEVERAGE_GROUPS,
    WAVELET_GROUPS,
    baselines_task,
    control_task,
    member_task,
    reported,
)
from optimization.control import ControlForecasts
from optimization.data.bars import BarTable
from optimization.ensemble import QUANTILE_LEVELS, calibrate, smearing_factor
from optimization.leak import Features
from optimization.parallel import Arrays, Task, pulse, run_tasks
from optimization.rows import HORIZONS, Rows, make_rows
from optimization.train.members import LEARNERS
from predictors.core.artifact import subset_key
from predictors.core.errors import InvalidInput
from predictors.router.combine import log_mean
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

T = TypeVar("T")

LINEAR = "linear"
ENSEMBLE = "ensemble"
ABLATIONS = {"linear without wavelets": WAVELET_GROUPS, "linear without leverage": LEVERAGE_GROUPS}


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """Forecasts at the n reported origins.

    Attributes
    ----------
    rows
        The reported rows.
    variance
        float64 (n, H) by model: the members, ``linear``, ``ensemble``, every baseline.
    ablations
        float64 (n, H) by name.
    quantiles
        float64 (n, H, Q) of the ensemble's variance.
    weights
        By refit (timestamp of the timeline position), the ensemble's weights.
    control
        The return control at the same origins.
    winners
        Plain HAR fit that is ``best_har``, by ``symbol_horizon``.
    unconverged
        GARCH refits that did not converge, by model.
    plan
        Where everything began.
    """

    rows: Rows
    variance: dict[str, NDArray[np.float64]]
    ablations: dict[str, NDArray[np.float64]]
    quantiles: NDArray[np.float64]
    weights: list[tuple[int, dict[str, float]]]
    control: ControlForecasts
    winners: dict[str, str]
    unconverged: dict[str, int]
    plan: Plan


def run_backtest(
    table: BarTable,
    settings: BacktestSettings,
    checkpoints: Path,
    progress: Progress,
    features: Features = series_features,
) -> BacktestResult:
    """Run or resume a backtest.

    Parameters
    ----------
    table
        Checked bars.
    settings
        What the user chose.
    checkpoints
        Folder for the finished parts of an interrupted run.
    progress
        Where to show how far it is.
    features
        The feature function; another than `series_features` is for tests of the leak check.

    Raises
    ------
    LeakError
        If a feature looks ahead.
    InvalidInput
        If the history is too short.
    """
    spec = FeatureSpec(proxy=settings.proxy)
    timeline = np.unique(np.concatenate([series.timestamps for series in table.series]))
    plan = make_plan(settings, timeline)
    with pulse(progress, "features"):
        rows = make_rows(table, spec, features)
    if not reported(rows, plan.first_reported).any():
        raise InvalidInput(
            f"no symbol has {FIRST_OWN_BAR} bars before an origin to report; give symbols with longer histories"
        )
    results = run_tasks(_tasks(table, rows, spec, settings, plan), checkpoints / _key(table, spec, settings), progress)
    return _combine(rows, results, settings, plan, timeline)


def _tasks(table: BarTable, rows: Rows, spec: FeatureSpec, settings: BacktestSettings, plan: Plan) -> list[Task]:
    refits = len(plan.schedule.refits(int(rows.origin[-1])))
    refit_every = plan.schedule.refit_every
    walks: dict[str, tuple[str | None, tuple[str, ...]]] = {kind: (kind, ()) for kind in _slowest_first()}
    walks[LINEAR] = (None, ())
    if not settings.quick:
        walks |= {name: (None, groups) for name, groups in ABLATIONS.items()}
    tasks = [
        Task(name, refits, partial(member_task, rows, spec, kind, plan.schedule, settings.seed, without))
        for name, (kind, without) in walks.items()
    ]
    symbols = len(table.series)
    baselines = partial(baselines_task, table, rows, settings.proxy)
    tasks[3:3] = [
        Task("garch", symbols, partial(baselines, "garch", plan.first_reported, refit_every)),
        Task("har", symbols, partial(baselines, "har", plan.first_reported, refit_every)),
    ]
    return [*tasks, Task("control", 1, partial(control_task, table, rows, plan.schedule))]


def _slowest_first() -> list[str]:
    return sorted(LEARNERS, key=lambda kind: ("transformer", "lstm", "xgboost").index(kind))


def _combine(
    rows: Rows, results: Mapping[str, Arrays], settings: BacktestSettings, plan: Plan, timeline: NDArray[np.int64]
) -> BacktestResult:
    members = {kind: results[kind]["log_variance"] for kind in LEARNERS}
    others = {name: results[name]["log_variance"] for name in results if name == LINEAR or name in ABLATIONS}
    log_ensemble, variance, weights = combine_walk(rows, members, others, plan, timeline)
    notes = {**results["har"], **results["garch"]}
    variance |= {name: values for name, values in notes.items() if not name.startswith(("winner_", "unconverged_"))}
    chosen = reported(rows, plan.first_reported)
    control = results["control"]
    return BacktestResult(
        rows=rows.take(chosen),
        variance={name: values[chosen] for name, values in variance.items() if name not in ABLATIONS},
        ablations={name: variance[name][chosen] for name in others if name in ABLATIONS},
        quantiles=_quantiles(rows, log_ensemble)[chosen],
        weights=weights,
        control=ControlForecasts(*(control[name][chosen] for name in ("forecast", "constant", "realised"))),
        winners=_noted(notes, "winner_", str),
        unconverged=_noted(notes, "unconverged_", int),
        plan=plan,
    )


def combine_walk(
    rows: Rows,
    members: Mapping[str, NDArray[np.float64]],
    others: Mapping[str, NDArray[np.float64]],
    plan: Plan,
    timeline: NDArray[np.int64],
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]], list[tuple[int, dict[str, float]]]]:
    """Weights and smearing factors, refitted on what has matured, applied to the forecasts that follow.

    Parameters
    ----------
    rows
        All N origins.
    members, others
        float64 (N, H) walk-forward log-variances; ``others`` take no part in the ensemble.
    plan, timeline
        When to refit, and the timestamps of those positions.

    Returns
    -------
    log_ensemble
        float64 (N, H); equal weights before the first calibration.
    variance
        float64 (N, H) of the ensemble, every member and every other; NaN before it.
    weights
        By timestamp of the refit.
    """
    log_ensemble = log_mean(members, dict.fromkeys(members, 1.0 / len(members)))
    made = np.isfinite(log_ensemble)
    variance = {name: np.full(log_ensemble.shape, np.nan) for name in (ENSEMBLE, *members, *others)}
    weights = []
    for refit, end in pairwise((*plan.calibrated_at, len(timeline))):
        known = np.where(rows.matured <= refit, rows.log_target, np.nan)
        if not (made & np.isfinite(known)).any(axis=0).all():
            continue  # no forecast has matured yet; such origins are never reported
        ahead = (rows.origin >= refit) & (rows.origin < end)
        calibrations = calibrate(members, known)
        full = calibrations[subset_key(members)]
        weights.append((int(timeline[refit]), full.weights))
        log_ensemble[ahead] = log_mean({kind: values[ahead] for kind, values in members.items()}, full.weights)
        variance[ENSEMBLE][ahead] = np.exp(log_ensemble[ahead]) * np.array(full.smearing)
        for name, values in {**members, **others}.items():
            factors = [smearing_factor(known[:, h] - values[:, h]) for h in range(known.shape[1])]
            variance[name][ahead] = np.exp(values[ahead]) * np.array(factors)
    return log_ensemble, variance, weights


def _noted(notes: Arrays, prefix: str, kind: Callable[[NDArray[Any]], T]) -> dict[str, T]:
    return {name.removeprefix(prefix): kind(value) for name, value in notes.items() if name.startswith(prefix)}


def _quantiles(rows: Rows, log_ensemble: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.full((*log_ensemble.shape, len(QUANTILE_LEVELS)), np.nan)
    for symbol in np.unique(rows.symbol):
        places = np.flatnonzero(rows.symbol == symbol)
        for h, horizon in enumerate(HORIZONS):
            out[places, h] = adaptive_quantiles(log_ensemble[places, h], rows.log_target[places, h], horizon)
    return np.exp(out)


def _key(table: BarTable, spec: FeatureSpec, settings: BacktestSettings) -> str:
    """Hash of everything that decides the results, the code included."""
    libraries = {name: version(name) for name in ("numpy", "torch", "xgboost-cpu", "onnxruntime", "arch", "scipy")}
    chosen = json.dumps([table.fingerprint, spec.hash, asdict(settings), libraries], sort_keys=True)
    digest = hashlib.sha256(chosen.encode())
    for package in ("predictors", "optimization"):
        for source in _sources(files(package)):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _sources(folder: Traversable) -> list[Traversable]:
    out = []
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            out.extend(_sources(entry))
        elif entry.name.endswith(".py"):
            out.append(entry)
    return out

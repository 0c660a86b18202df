"""From bars to out-of-sample forecasts of every model: plan, walk the members, combine with what had matured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from optimization.adaptive import adaptive_quantiles
from optimization.backtest.settings import BacktestSettings, Plan, make_plan
from optimization.backtest.tasks import LEVERAGE_GROUPS, WAVELET_GROUPS, baselines_task, control_task, member_task
from optimization.control import ControlForecasts
from optimization.data.bars import BarTable
from optimization.ensemble import QUANTILE_LEVELS, calibrate, smearing_factor
from optimization.leak import Features
from optimization.parallel import Arrays, Task, run_tasks
from optimization.rows import HORIZONS, Rows, make_rows
from optimization.train.members import LEARNERS
from predictors.core.artifact import subset_key
from predictors.router.combine import log_mean
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

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
    rows = make_rows(table, spec, features)
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
    others = {name: results[name]["log_variance"] for name in (LINEAR, *(() if settings.quick else ABLATIONS))}
    shape = rows.log_target.shape
    log_ensemble = np.full(shape, np.nan)
    variance = {name: np.full(shape, np.nan) for name in (*members, *others, ENSEMBLE)}
    weights = []
    ends = (*plan.calibrated_at[1:], len(timeline))
    for refit, end in zip(plan.calibrated_at, ends, strict=True):
        chosen = (rows.origin >= refit) & (rows.origin < end)
        known = np.where(rows.matured <= refit, rows.log_target, np.nan)
        if not np.isfinite(known[np.isfinite(log_ensemble_of(members))]).any():
            # Nothing has matured yet: equal weights, and no factor; never reported.
            log_ensemble[chosen] = log_ensemble_of(members)[chosen]
            continue
        calibrations = calibrate(members, known)
        full = calibrations[subset_key(tuple(members))]
        weights.append((int(timeline[refit]), full.weights))
        log_ensemble[chosen] = log_mean({kind: values[chosen] for kind, values in members.items()}, full.weights)
        variance[ENSEMBLE][chosen] = np.exp(log_ensemble[chosen]) * np.array(full.smearing)
        for kind, values in members.items():
            variance[kind][chosen] = np.exp(values[chosen]) * np.array(calibrations[kind].smearing)
        for name, values in others.items():
            factors = [smearing_factor((known - values)[:, h]) for h in range(shape[1])]
            variance[name][chosen] = np.exp(values[chosen]) * np.array(factors)
    if settings.quick:  # before the one calibration, equal weights give the errors that intervals learn from
        early = rows.origin < plan.first_reported
        log_ensemble[early] = log_ensemble_of(members)[early]
    quantiles = _quantiles(rows, log_ensemble)
    reported = rows.origin >= plan.first_reported
    baselines = {**results["har"], **results["garch"]}
    winners = {k.removeprefix("winner_"): str(v) for k, v in baselines.items() if k.startswith("winner_")}
    unconverged = {k.removeprefix("unconverged_"): int(v) for k, v in baselines.items() if k.startswith("unconverged_")}
    forecasts = {k: v for k, v in baselines.items() if not k.startswith(("winner_", "unconverged_"))}
    control = results["control"]
    return BacktestResult(
        rows=rows.take(reported),
        variance={
            name: values[reported]
            for name, values in {ENSEMBLE: variance[ENSEMBLE], **variance, **forecasts}.items()
            if name not in ABLATIONS
        },
        ablations={name: variance[name][reported] for name in others if name in ABLATIONS},
        quantiles=quantiles[reported],
        weights=weights,
        control=ControlForecasts(*(control[name][reported] for name in ("forecast", "constant", "realised"))),
        winners=winners,
        unconverged=unconverged,
        plan=plan,
    )


def log_ensemble_of(members: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Equally weighted log-mean of the members."""
    return log_mean(members, dict.fromkeys(members, 1.0 / len(members)))


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

"""Training: from bars to a complete, verified release in a run folder."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from optimization.baselines.har import fit_log_har
from optimization.data.bars import BarTable
from optimization.ensemble import QUANTILE_LEVELS, calibrate
from optimization.leak import Features
from optimization.metrics.losses import mean_loss, qlike
from optimization.parallel import Advance, Arrays, Task, run_tasks
from optimization.rows import HORIZONS, Rows, make_rows, series_bars, series_proxy
from optimization.targets import FLOOR_BARS, floored_proxy, log_variance_target
from optimization.train.backbone import fit_backbone
from optimization.train.members import LEARNERS
from optimization.walkforward import Schedule, fit_residual, member_model, walk_forward
from predictors.core.artifact import (
    GOLDEN,
    MANIFEST,
    MODEL,
    RELEASE,
    Calibration,
    FileRecord,
    MemberManifest,
    ReleaseManifest,
    subset_key,
)
from predictors.core.errors import InvalidInput, WavecastError
from predictors.members.onnx_member import OnnxMember
from predictors.router.combine import combine, log_mean
from predictors.store import member_folder, release_folder
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

FIRST_FORECAST_BAR = 500
FEWEST_BARS = 750
"""A quarter of a thousand out-of-fold forecasts are the least to calibrate on."""
REFIT_EVERY = 66
TARGET = "log_variance"
PARITY = 1e-5
PARITY_WINDOWS = 1000
GOLDEN_WINDOWS = 16
_LIBRARIES = ("numpy", "onnx", "onnxruntime", "torch", "xgboost-cpu", "pywavelets", "wavecast")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What a user chooses: the variance proxy, bars per year (for people) and the seed."""

    proxy: str = "garman_klass"
    bars_per_year: float = 252.0
    seed: int = 0


def train_run(
    table: BarTable,
    settings: TrainSettings,
    run: Path,
    progress: Progress,
    features: Features = series_features,
    *,
    overwrite: bool = False,
) -> ReleaseManifest:
    """Train every member, calibrate the ensemble out of fold, and write the release to a folder.

    Parameters
    ----------
    table
        Checked bars.
    settings
        What the user chose.
    run
        Folder to create; it appears complete or not at all.
    progress
        Where to show how far it is.
    features
        The feature function; another than `series_features` is for tests of the leak check.
    overwrite
        Replace a folder that is there.

    Raises
    ------
    InvalidInput
        If the folder is not empty, or the history is too short.
    LeakError
        If a feature looks ahead.
    """
    if run.exists() and not overwrite:
        raise InvalidInput(f"run folder '{run}' exists; name another, or pass --overwrite")
    spec = FeatureSpec(proxy=settings.proxy)
    bars = len(np.unique(np.concatenate([series.timestamps for series in table.series])))
    if bars < FEWEST_BARS:
        raise InvalidInput(f"the data has {bars} bars; training needs at least {FEWEST_BARS}")
    rows = make_rows(table, spec, features)
    schedule = Schedule(FIRST_FORECAST_BAR, REFIT_EVERY)
    steps = len(schedule.refits(int(rows.origin[-1]))) + 1
    tasks = [
        Task(kind, steps, partial(train_member, rows, spec, kind, schedule, settings.seed))
        for kind in sorted(LEARNERS, key=lambda kind: ("transformer", "lstm", "xgboost").index(kind))
    ]
    results = run_tasks(tasks, None, progress)
    half = run.with_name(f".{run.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        release = _write(table, rows, spec, settings, results, half)
        if run.exists():
            shutil.rmtree(run)
        half.rename(run)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return release


def train_member(
    rows: Rows, spec: FeatureSpec, kind: str, schedule: Schedule, seed: int, *, advance: Advance
) -> Arrays:
    """Out-of-fold forecasts of a member, and the member fitted on everything that has matured.

    Raises
    ------
    WavecastError
        If the exported model differs from the trained one by more than `PARITY`.
    """
    learner = LEARNERS[kind]
    out_of_fold = walk_forward(rows, spec, learner, schedule, seed, advance)
    past = rows.matured_by(int(rows.origin[-1]))
    backbone = fit_backbone(past.tabular, past.log_target, spec)
    fitted = fit_residual(past, backbone, learner, seed, None)
    model = member_model(backbone, learner, fitted)
    recent = rows.take(np.arange(max(0, len(rows) - PARITY_WINDOWS), len(rows)))
    trained = backbone.log_variance(recent.tabular) + np.array(learner.share) * fitted.residual(
        recent.tabular, recent.sequence
    )
    error = float(np.max(np.abs(OnnxMember(model).log_variance(recent.tabular, recent.sequence) - trained)))
    if not error <= PARITY:
        raise WavecastError(f"{kind}: the exported model differs from the trained one by {error:.3g}, over {PARITY:g}")
    advance()
    return {"log_variance": out_of_fold, "model": np.frombuffer(model, np.uint8)}


def _write(
    table: BarTable,
    rows: Rows,
    spec: FeatureSpec,
    settings: TrainSettings,
    results: Mapping[str, Arrays],
    folder: Path,
) -> ReleaseManifest:
    out_of_fold = {kind: arrays["log_variance"] for kind, arrays in results.items()}
    calibrations = calibrate(out_of_fold, rows.log_target)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    chosen = np.unique(np.linspace(0, len(rows) - 1, GOLDEN_WINDOWS).astype(int))
    golden_rows = rows.take(chosen)
    members, answers = {}, {}
    for kind, arrays in sorted(results.items()):
        model = arrays["model"].tobytes()
        answers[kind] = OnnxMember(model).log_variance_each(golden_rows.tabular, golden_rows.sequence)
        golden = _npz(
            tabular=golden_rows.tabular,
            sequence=golden_rows.sequence,
            log_variance=answers[kind],
            tolerance=np.array(PARITY),
        )
        members[kind] = _member(table, rows, spec, settings, kind, out_of_fold[kind], calibrations[kind], created)
        members[kind] = _seal_member(members[kind], {MODEL: model, GOLDEN: golden}, folder)
    full = calibrations[subset_key(tuple(members))]
    release = ReleaseManifest(
        release="",
        spec=spec.to_json(),
        proxy=settings.proxy,
        target=TARGET,
        horizons=HORIZONS,
        quantile_levels=QUANTILE_LEVELS,
        bars_per_year=settings.bars_per_year,
        members={kind: member.version for kind, member in members.items()},
        calibrations=calibrations,
        benchmark=_benchmark(table, settings.proxy),
        scores=_scores(rows, log_mean(out_of_fold, full.weights), full),
        data_fingerprint=table.fingerprint,
        files={},
        created=created,
    )
    return _seal_release(release, answers, _windows(table, golden_rows, spec), folder)


def _member(
    table: BarTable,
    rows: Rows,
    spec: FeatureSpec,
    settings: TrainSettings,
    kind: str,
    out_of_fold: NDArray[np.float64],
    calibration: Calibration,
    created: str,
) -> MemberManifest:
    return MemberManifest(
        kind=kind,
        version="",
        spec_hash=spec.hash,
        columns=spec.columns,
        target=TARGET,
        horizons=HORIZONS,
        files={},
        scores=_scores(rows, out_of_fold, calibration),
        data_fingerprint=table.fingerprint,
        seed=settings.seed,
        libraries={name: version(name) for name in _LIBRARIES},
        parent=None,
        created=created,
    )


def _seal_member(manifest: MemberManifest, contents: dict[str, bytes], folder: Path) -> MemberManifest:
    manifest = replace(manifest, files={file: FileRecord.of(content) for file, content in contents.items()})
    manifest = replace(manifest, version=manifest.content_version())
    _put(folder / member_folder(manifest.kind, manifest.version), {**contents, MANIFEST: manifest.to_json()})
    return manifest


def _seal_release(
    release: ReleaseManifest,
    answers: Mapping[str, NDArray[np.float64]],
    windows: NDArray[np.float64],
    folder: Path,
) -> ReleaseManifest:
    expected = combine(answers, release)
    golden = _npz(
        bars=windows,
        variance=expected.variance,
        log_variance=expected.log_variance,
        quantiles=expected.quantiles,
        tolerance=np.array(PARITY),
    )
    release = replace(release, files={GOLDEN: FileRecord.of(golden)})
    release = replace(release, release=release.content_version())
    _put(folder / release_folder(release.release), {GOLDEN: golden, RELEASE: release.to_json()})
    return release


def _windows(table: BarTable, rows: Rows, spec: FeatureSpec) -> NDArray[np.float64]:
    """The windows of some rows, float64 (n, T, 5)."""
    bars = [series_bars(series, spec.proxy) for series in table.series]
    return np.stack(
        [
            bars[symbol][bar - spec.window_bars + 1 : bar + 1]
            for symbol, bar in zip(rows.symbol.tolist(), rows.bar.tolist(), strict=True)
        ]
    )


def _benchmark(table: BarTable, proxy: str) -> dict[str, tuple[float, ...]]:
    """log-HAR of all symbols together: intercept, three slopes and smearing, by horizon."""
    out = {}
    raw = [series_proxy(series, proxy) for series in table.series]
    floored = np.concatenate([floored_proxy(one) for one in raw])
    starts = np.cumsum([0, *(len(one) for one in raw)])
    for horizon in HORIZONS:
        target = np.exp(np.concatenate([log_variance_target(one, horizon) for one in raw]))
        rows = np.concatenate([np.arange(start + FLOOR_BARS + 20, end) for start, end in pairwise(starts)])
        coefficients, smearing = fit_log_har(floored, target, rows[np.isfinite(target[rows])])
        out[str(horizon)] = (*(float(b) for b in coefficients), smearing)
    return out


def _scores(rows: Rows, log_variance: NDArray[np.float64], calibration: Calibration) -> dict[str, float]:
    """Out-of-fold QLIKE by horizon."""
    scores = {}
    for h, horizon in enumerate(HORIZONS):
        made = np.isfinite(log_variance[:, h])
        losses = qlike(rows.realised[made, h], np.exp(log_variance[made, h]) * calibration.smearing[h])
        scores[f"qlike_h{horizon}"] = mean_loss(losses).mean
    return scores


def _npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def _put(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)

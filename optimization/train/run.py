"""Training: from bars to a complete, verified release in a run folder."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from optimization.output import writing
from optimization.parallel import Advance, Arrays, Task, pulse, run_tasks
from optimization.rows import HORIZONS, Rows, make_rows, series_bars, series_proxy
from optimization.targets import FLOOR_BARS, floored_proxy, log_variance_target
from optimization.train.backbone import fit_backbone
from optimization.train.learner import Learner
from optimization.train.recipe import Recipe, follow
from optimization.train.trained import TRAINED, Trained
from optimization.walkforward import Schedule, fit_residual, walk_forward
from predictors.core.artifact import (
    GOLDEN,
    MANIFEST,
    MODEL,
    RELEASE,
    Calibration,
    FileRecord,
    MemberManifest,
    ReleaseManifest,
    StudyRecord,
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
    """What a user chooses: the variance proxy, bars per year (for people), the seed, and recipes of `tune`."""

    proxy: str = "garman_klass"
    bars_per_year: float = 252.0
    seed: int = 0
    recipes: tuple[Recipe, ...] = ()


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
        Replace the run that is there.

    Raises
    ------
    InvalidInput
        If the folder is there, a setting is impossible, the history is too short, or the recipes do not
        fit together.
    LeakError
        If a feature looks ahead.
    StoreError
        If the folder cannot be written; a place where nothing can be is found before the training.
    """
    check_place(run, overwrite)
    if not 0.0 < settings.bars_per_year < math.inf:
        raise InvalidInput(f"--bars-per-year is {settings.bars_per_year:g}; it must be > 0 and finite")
    chosen = follow(settings.recipes, settings.proxy)
    spec = chosen.spec
    bars = len(np.unique(np.concatenate([series.timestamps for series in table.series])))
    if bars < FEWEST_BARS:
        raise InvalidInput(f"the data has {bars} bars; training needs at least {FEWEST_BARS}")
    with pulse(progress, "features"):
        rows = make_rows(table, spec, features)
    schedule = Schedule(FIRST_FORECAST_BAR, REFIT_EVERY)
    steps = len(schedule.refits(int(rows.origin[-1]))) + 1
    tasks = [
        Task(kind, steps, partial(train_member, rows, spec, chosen.learners[kind], schedule, settings.seed))
        for kind in sorted(chosen.learners, key=lambda kind: ("transformer", "lstm", "xgboost").index(kind))
    ]
    studies = {recipe.kind: recipe.study for recipe in settings.recipes}
    with complete_folder(run) as half:
        results = run_tasks(tasks, None, progress)
        drafts = [
            MemberDraft(
                _manifest(table, spec, settings, kind, studies.get(kind)),
                arrays["model"].tobytes(),
                arrays["trained"].tobytes(),
                arrays["log_variance"],
            )
            for kind, arrays in sorted(results.items())
        ]
        with writing(run):
            return seal_run(table, rows, spec, settings.bars_per_year, drafts, half)


def check_place(run: Path, overwrite: bool) -> None:
    """Refuse a place that is taken; only a run is ever replaced.

    Raises
    ------
    InvalidInput
        If something is there, and it is not a run or shall not be replaced.
    """
    if not run.exists():
        return
    if not overwrite:
        raise InvalidInput(f"run folder '{run}' exists; name another, or pass --overwrite")
    if not run.is_dir() or {entry.name for entry in run.iterdir()} - {"models", "releases"}:
        raise InvalidInput(f"'{run}' is not a run that 'wavecast train' wrote, so it is not replaced; name another")


@contextmanager
def complete_folder(run: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``run``, in place of what is there, only when nothing failed.

    Raises
    ------
    StoreError
        If it cannot be made, or put in its place.
    """
    place = run.resolve()
    half, old = (place.with_name(f".{place.name}.{state}") for state in ("half", "old"))
    try:
        with writing(run):
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
        yield half
        with writing(run):
            if place.exists():
                shutil.rmtree(old, ignore_errors=True)
                place.rename(old)
            half.rename(place)
    finally:
        for left_over in (half, old):
            shutil.rmtree(left_over, ignore_errors=True)


def train_member(
    rows: Rows, spec: FeatureSpec, learner: Learner, schedule: Schedule, seed: int, *, advance: Advance
) -> Arrays:
    """Out-of-fold forecasts of a member, and the member fitted on everything that has matured.

    Raises
    ------
    WavecastError
        If the exported model differs from the trained one by more than `PARITY`.
    """
    out_of_fold = walk_forward(rows, spec, learner, schedule, seed, advance)
    past = rows.matured_by(int(rows.origin[-1]))
    backbone = fit_backbone(past.tabular, past.log_target, spec)
    member = Trained(learner, backbone, fit_residual(past, backbone, learner, seed, None))
    model = member.model()
    recent = rows.take(np.arange(max(0, len(rows) - PARITY_WINDOWS), len(rows)))
    trained = member.log_variance(recent.tabular, recent.sequence)
    error = float(np.max(np.abs(OnnxMember(model).log_variance(recent.tabular, recent.sequence) - trained)))
    if not error <= PARITY:
        raise WavecastError(
            f"{learner.kind}: the exported model differs from the trained one by {error:.3g}, over {PARITY:g}"
        )
    advance()
    return {
        "log_variance": out_of_fold,
        "model": np.frombuffer(model, np.uint8),
        "trained": np.frombuffer(member.to_bytes(), np.uint8),
    }


@dataclass(frozen=True, slots=True)
class MemberDraft:
    """A member on its way into a run folder.

    Attributes
    ----------
    manifest
        Without version and files; its scores are kept beside those of its out-of-fold losses.
    model, trained
        Contents of ``model.onnx`` and `TRAINED`.
    out_of_fold
        float64 (N, H): its out-of-fold log-variances.
    """

    manifest: MemberManifest
    model: bytes
    trained: bytes
    out_of_fold: NDArray[np.float64]


def seal_run(
    table: BarTable,
    rows: Rows,
    spec: FeatureSpec,
    bars_per_year: float,
    drafts: Sequence[MemberDraft],
    folder: Path,
) -> ReleaseManifest:
    """Calibrate the ensemble of some members and write them and its release into an empty folder."""
    out_of_fold = {draft.manifest.kind: draft.out_of_fold for draft in drafts}
    calibrations = calibrate(out_of_fold, rows.log_target)
    chosen = np.unique(np.linspace(0, len(rows) - 1, GOLDEN_WINDOWS).astype(int))
    golden_rows = rows.take(chosen)
    members, answers = {}, {}
    for draft in drafts:
        kind = draft.manifest.kind
        answers[kind] = OnnxMember(draft.model).log_variance_each(golden_rows.tabular, golden_rows.sequence)
        golden = _npz(
            tabular=golden_rows.tabular,
            sequence=golden_rows.sequence,
            log_variance=answers[kind],
            tolerance=np.array(PARITY),
        )
        scores = draft.manifest.scores | _scores(rows, draft.out_of_fold, calibrations[kind])
        contents = {MODEL: draft.model, GOLDEN: golden, TRAINED: draft.trained}
        members[kind] = _seal_member(replace(draft.manifest, scores=scores), contents, folder)
    full = calibrations[subset_key(tuple(members))]
    release = ReleaseManifest(
        release="",
        spec=spec.to_json(),
        proxy=spec.proxy,
        target=TARGET,
        horizons=HORIZONS,
        quantile_levels=QUANTILE_LEVELS,
        bars_per_year=bars_per_year,
        members={kind: member.version for kind, member in members.items()},
        calibrations=calibrations,
        benchmark=_benchmark(table, spec.proxy),
        scores=_scores(rows, log_mean(out_of_fold, full.weights), full),
        data_fingerprint=table.fingerprint,
        files={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return _seal_release(release, answers, _windows(table, golden_rows, spec), folder)


def _manifest(
    table: BarTable, spec: FeatureSpec, settings: TrainSettings, kind: str, study: StudyRecord | None
) -> MemberManifest:
    return MemberManifest(
        kind=kind,
        version="",
        spec_hash=spec.hash,
        columns=spec.columns,
        target=TARGET,
        horizons=HORIZONS,
        files={},
        scores={},
        data_fingerprint=table.fingerprint,
        seed=settings.seed,
        libraries={name: version(name) for name in _LIBRARIES},
        parent=None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        study=study,
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
        **{f"member_{kind}": answer for kind, answer in answers.items()},
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

"""Compressing a run: every member step by step under the gates, the ensemble calibrated again, a new run folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from optimization.compress.columns import used_columns
from optimization.compress.gates import (
    GateRefused,
    GateSettings,
    Verdict,
    fidelity_gates,
    loss_gates,
    refuse,
)
from optimization.compress.latency import Latency, measure
from optimization.compress.reference import json_bytes, reference_model
from optimization.compress.selection import Selection, losses_of, select
from optimization.compress.steps import STEPS
from optimization.compress.walk import compress_member
from optimization.data.bars import BarTable
from optimization.ensemble import smearing_factor
from optimization.metrics.losses import mean_loss
from optimization.parallel import Arrays, Task, pulse, run_tasks
from optimization.rows import HORIZONS, Rows, make_rows
from optimization.train.export import export_member
from optimization.train.run import (
    FIRST_FORECAST_BAR,
    PARITY_WINDOWS,
    REFIT_EVERY,
    MemberDraft,
    check_place,
    complete_folder,
    seal_run,
)
from optimization.train.trained import TRAINED, Trained
from optimization.train.xgboost import BoostedResidual
from optimization.walkforward import Schedule
from predictors.core.artifact import GateRecord, MemberManifest, ReleaseManifest, check_file
from predictors.core.errors import ArtifactError, InvalidInput, NotReady, WavecastError
from predictors.engine import Engine
from predictors.members.onnx_member import OnnxMember
from predictors.store import Store, member_folder, newest_release, read_member, read_release
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

PARENT = "parent"
LATENCY_GATE = "latency_ratio"


@dataclass(frozen=True, slots=True)
class CompressSettings:
    """What a user chooses.

    Attributes
    ----------
    steps
        By kind, in order; a kind that is not named stays as it is.
    gates
        Limits.
    keep_passing
        Leave a refused step out instead of ending there.
    drop_members
        Leave out of the release the members that nobody would miss.
    refit_every
        Bars between the refits of the walk-forward; those of training make the parents' forecasts theirs.
    """

    steps: Mapping[str, tuple[str, ...]]
    gates: GateSettings = field(default_factory=GateSettings)
    keep_passing: bool = False
    drop_members: bool = False
    refit_every: int = REFIT_EVERY


@dataclass(frozen=True, slots=True)
class StepReport:
    """A member after a step (or before any, `PARENT`).

    ``latency_us`` holds by batch the median and the quartiles of the rounds' p50; ``qlike`` is out
    of fold, by horizon; ``model_changed`` is false for a step that found nothing to do.
    """

    step: str
    structural: bool
    model_changed: bool
    size_bytes: int
    latency_us: dict[str, list[float]]
    qlike: list[float]
    verdicts: list[Verdict]

    @property
    def passed(self) -> bool:
        """Whether all gates were passed."""
        return all(verdict.passed for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a member is compared with: a fixed architecture, or XGBoost's JSON of the boosters at their best round."""

    size_bytes: int
    latency_us: dict[str, list[float]] | None
    latency_ratio: float | None


@dataclass(frozen=True, slots=True)
class MemberReport:
    """A member's way through its steps; ``refused`` ones were left out."""

    parent: str
    version: str
    steps: list[StepReport]
    refused: list[StepReport]
    reference: Reference | None


@dataclass(frozen=True, slots=True)
class CompressReport:
    """All that was made and measured."""

    parent_release: str
    release: ReleaseManifest
    members: dict[str, MemberReport]
    ensemble: Selection
    gates: GateSettings


@dataclass(frozen=True, slots=True)
class _Judged:
    names: tuple[str, ...]
    arrays: Arrays
    steps: list[StepReport]
    reference: Reference | None

    @property
    def model(self) -> bytes:
        return self.arrays[f"model_{len(self.names)}"].tobytes()

    @property
    def trained(self) -> bytes:
        return self.arrays[f"trained_{len(self.names)}"].tobytes()

    @property
    def out_of_fold(self) -> NDArray[np.float64]:
        return np.asarray(self.arrays["log_variance"][len(self.names)])


def compress_run(
    run: str,
    table: BarTable,
    settings: CompressSettings,
    out: Path,
    progress: Progress,
    *,
    overwrite: bool = False,
) -> CompressReport:
    """Compress members of a run that training wrote and write the outcome as a new run.

    Parameters
    ----------
    run
        Folder with a release and its members.
    table
        The bars that the run was made from.
    out
        Folder to create; it appears complete or not at all.

    Raises
    ------
    GateRefused
        If a step does not pass a gate; nothing is written.
    InvalidInput
        If the run was made from other bars, or compressed already, or ``out`` is taken.
    NotReady
        If the run's golden windows are answered differently on this CPU.
    ArtifactError
        If a file of the run was altered.
    WavecastError
        If a forecast or a loss is not a number.
    """
    check_place(out, overwrite)
    store = Store(run)
    release_before = read_release(store, newest_release(store))
    source = release_before.manifest
    members = {kind: _read_member(store, kind, version) for kind, version in sorted(source.members.items())}
    missing = sorted(set(settings.steps) - set(members))
    if missing:
        raise InvalidInput(f"run '{run}' has no member {missing[0]}; its members are {', '.join(members)}")
    if source.data_fingerprint != table.fingerprint:
        raise InvalidInput(
            f"run '{run}' was made from other bars (fingerprint {source.data_fingerprint[:12]}) than these "
            f"({table.fingerprint[:12]}); give the file that it was trained on"
        )
    spec = Engine(release_before).spec  # which proves the parents on this CPU, and that they are of one spec
    with complete_folder(out) as half:
        with pulse(progress, "features"):
            rows = make_rows(table, spec, series_features)
        schedule = Schedule(FIRST_FORECAST_BAR, settings.refit_every)
        judged, refused = _walk_and_judge(members, rows, spec, schedule, settings, progress)
        timeline = np.unique(np.concatenate([series.timestamps for series in table.series]))
        with pulse(progress, "ensemble"):
            chosen = select(
                rows,
                {kind: one.out_of_fold for kind, one in judged.items()},
                {kind: one.arrays["log_variance"][0] for kind, one in judged.items()},
                schedule,
                timeline,
                settings.gates,
            )
        kinds = chosen.kept if settings.drop_members else tuple(judged)
        drafts = [_draft(members[kind][0], judged[kind]) for kind in kinds]
        release = seal_run(table, rows, spec, source.bars_per_year, drafts, half)
        try:
            Engine(read_release(Store(str(half)), release.release))
        except NotReady as wrong:
            raise GateRefused(f"the compressed release is refused, nothing was written: {wrong}") from wrong
    reports = {
        kind: MemberReport(source.members[kind], release.members.get(kind, ""), one.steps, refused[kind], one.reference)
        for kind, one in judged.items()
    }
    return CompressReport(source.release, release, reports, chosen, settings.gates)


def _read_member(store: Store, kind: str, version: str) -> tuple[MemberManifest, bytes]:
    """Manifest and sidecar of a member that is exactly what its sidecar exports."""
    name = f"member {kind} {version}"
    member = read_member(store, member_folder(kind, version))
    if TRAINED not in member.manifest.files:
        raise InvalidInput(f"{name} has no {TRAINED}; train it again with this version of wavecast")
    folder = member_folder(kind, version)
    trained = check_file(member.manifest.files, TRAINED, store.get(f"{folder}/{TRAINED}"), name)
    if Trained.from_bytes(trained, name).model() != member.model:
        if member.manifest.parent is not None:
            raise InvalidInput(f"{name} was compressed already, from {member.manifest.parent}; compress its run")
        raise ArtifactError(f"{name}: {TRAINED} does not export to its model with this version of wavecast")
    return member.manifest, trained


def _walk_and_judge(
    members: Mapping[str, tuple[MemberManifest, bytes]],
    rows: Rows,
    spec: FeatureSpec,
    schedule: Schedule,
    settings: CompressSettings,
    progress: Progress,
) -> tuple[dict[str, _Judged], dict[str, list[StepReport]]]:
    """Walk all members, and again, without the refused step, those that had one."""
    waiting = {kind: settings.steps.get(kind, ()) for kind in members}
    refits = len(schedule.refits(int(rows.origin[-1]))) + 1
    judged: dict[str, _Judged] = {}
    refused: dict[str, list[StepReport]] = {kind: [] for kind in members}
    while waiting:
        tasks = [
            Task(kind, refits, partial(compress_member, rows, spec, trained, waiting[kind], schedule, manifest.seed))
            for kind, (manifest, trained) in members.items()
            if kind in waiting
        ]
        results = run_tasks(tasks, None, progress)
        again = {}
        for kind, arrays in results.items():
            one = _judge(kind, waiting[kind], arrays, rows, settings.gates)
            wrong = next((step for step in one.steps if not step.passed), None)
            if wrong is None:
                judged[kind] = one
                continue
            if not settings.keep_passing:
                refuse(kind, wrong.step, wrong.verdicts)
            refused[kind].append(wrong)
            left = tuple(name for name in one.names if name != wrong.step)
            if wrong.step == one.names[-1]:
                judged[kind] = replace(one, names=left, steps=one.steps[:-1])
            else:
                again[kind] = left
        waiting = again
    return {kind: judged[kind] for kind in members}, refused


def _judge(kind: str, names: tuple[str, ...], arrays: Arrays, rows: Rows, gates: GateSettings) -> _Judged:
    """Measure the member before and after each step, and apply the gates."""
    labels = (PARENT, *names)
    models = {label: arrays[f"model_{place}"].tobytes() for place, label in enumerate(labels)}
    trained = Trained.from_bytes(arrays["trained_0"].tobytes(), kind)
    recent = rows.take(np.arange(max(0, len(rows) - PARITY_WINDOWS), len(rows)))
    plain = OnnxMember(export_member(trained.backbone, None, np.zeros(0)))
    backbone = plain.log_variance_each(recent.tabular, recent.sequence)
    answers = {label: _answers(model, recent) for label, model in models.items()}
    losses = [losses_of(rows, _calibrated(rows, values)) for values in arrays["log_variance"]]
    fixed = reference_model(trained)
    latencies = measure({**models, **({} if fixed is None else {"reference": fixed})}, recent.tabular, recent.sequence)
    steps = []
    for place, label in enumerate(labels):
        before = labels[max(place - 1, 0)]
        structural = place > 0 and STEPS[label].structural
        verdicts: list[Verdict] = []
        if models[label] != models[before]:
            each, together = answers[label]
            verdicts += [
                Verdict("size_ratio", len(models[label]) / len(models[before]), gates.size_ratio),
                Verdict(LATENCY_GATE, latencies[label].ratio(latencies[before], 1), gates.latency_ratio),
                Verdict("batch", float(np.max(np.abs(each - together))), gates.batch),
            ]
            if structural and place > 1:
                verdicts += loss_gates(losses[place], losses[place - 1], rows.timestamps, HORIZONS, "input", gates)
            elif not structural:
                verdicts += fidelity_gates(answers[before][0], each, backbone, gates)
            verdicts += loss_gates(losses[place], losses[0], rows.timestamps, HORIZONS, PARENT, gates)
        steps.append(
            StepReport(
                label,
                structural,
                models[label] != models[before],
                len(models[label]),
                latencies[label].summary(),
                [_mean(kind, label, losses[place][:, h]) for h in range(len(HORIZONS))],
                verdicts,
            )
        )
    return _Judged(names, arrays, steps, _reference(names, arrays, fixed, latencies, kind))


def _reference(
    names: tuple[str, ...], arrays: Arrays, fixed: bytes | None, latencies: Mapping[str, Latency], kind: str
) -> Reference:
    if fixed is not None:
        last = latencies[names[-1] if names else PARENT]
        return Reference(len(fixed), latencies["reference"].summary(), last.ratio(latencies["reference"], 1))
    place = names.index("early-stop") + 1 if "early-stop" in names else 0
    best = Trained.from_bytes(arrays[f"trained_{place}"].tobytes(), kind).fitted
    assert isinstance(best, BoostedResidual)
    return Reference(json_bytes(best), None, None)


def _answers(model: bytes, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-variances at batch 1 and at batch 100."""
    member = OnnxMember(model)
    parts = np.array_split(np.arange(len(rows)), max(1, len(rows) // 100))
    together = [member.log_variance(rows.tabular[part], rows.sequence[part]) for part in parts]
    return member.log_variance_each(rows.tabular, rows.sequence), np.concatenate(together)


def _calibrated(rows: Rows, log_variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variances as the release's calibration of this member alone makes them."""
    errors = rows.log_target - log_variance
    factors = [smearing_factor(errors[:, h]) for h in range(errors.shape[1])]
    return np.asarray(np.exp(log_variance) * np.array(factors))


def _mean(kind: str, step: str, losses: NDArray[np.float64]) -> float:
    mean = mean_loss(losses).mean
    if not np.isfinite(mean):
        raise WavecastError(f"{kind}: the out-of-fold loss of '{step}' is not a number; nothing was written")
    return mean


def _draft(parent: MemberManifest, one: _Judged) -> MemberDraft:
    if not one.names:
        return MemberDraft(parent, one.model, one.trained, one.out_of_fold)
    used = used_columns(Trained.from_bytes(one.trained, parent.kind))
    columns = tuple(name for name, kept in zip(parent.columns, used, strict=True) if kept)
    manifest = replace(
        parent,
        version="",
        columns=columns if "columns" in one.names else parent.columns,
        files={},
        scores={},
        parent=parent.version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        gates=tuple(_record(step.step, verdict) for step in one.steps for verdict in step.verdicts),
    )
    return MemberDraft(manifest, one.model, one.trained, one.out_of_fold)


def _record(step: str, verdict: Verdict) -> GateRecord:
    """No latency: a version must not be a matter of the minute in which it was measured."""
    value = None if verdict.gate == LATENCY_GATE else verdict.value
    return GateRecord(step, verdict.gate, verdict.limit, verdict.floor, value, verdict.passed)

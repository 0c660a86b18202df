"""Compressing a run: every member step by step under the gates, the ensemble calibrated again, a new run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from optimization.compress.columns import used_columns
from optimization.compress.gates import GateRefused, GateSettings, Verdict, refuse
from optimization.compress.judge import LATENCY_GATE, Judged, Reference, StepReport, beside_trained, judge
from optimization.compress.reference import reference_learner, walk_reference
from optimization.compress.selection import Selection, select
from optimization.compress.walk import compress_member
from optimization.data.bars import BarTable
from optimization.parallel import Task, pulse, run_tasks
from optimization.rows import Rows, make_rows
from optimization.train.run import (
    FIRST_FORECAST_BAR,
    REFIT_EVERY,
    MemberDraft,
    check_place,
    complete_folder,
    seal_run,
)
from optimization.train.trained import TRAINED, Trained
from optimization.walkforward import Schedule
from predictors.core.artifact import GateRecord, MemberManifest, ReleaseManifest, check_file
from predictors.core.errors import ArtifactError, InvalidInput, NotReady
from predictors.engine import Engine
from predictors.store import Store, member_folder, newest_release, read_member, read_release
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec


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
    reference_from
        Timestamp (ns, UTC) from which the reference networks are trained and walked forward beside the
        members; ``None`` to compare size and latency alone.
    walk_again_s
        Seconds after which no member is walked again without a step that was refused; it is then left
        as it was before that step.
    """

    steps: Mapping[str, tuple[str, ...]]
    gates: GateSettings = field(default_factory=GateSettings)
    keep_passing: bool = False
    drop_members: bool = False
    refit_every: int = REFIT_EVERY
    reference_from: int | None = None
    walk_again_s: float = math.inf


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

    def summary(self) -> dict[str, Any]:
        """Plain JSON, as `compress --json` prints it."""
        return {
            "parent_release": self.parent_release,
            "release": self.release.release,
            "members": {kind: asdict(member) for kind, member in self.members.items()},
            "ensemble": asdict(self.ensemble),
            "gates": asdict(self.gates),
        }


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
        timeline = np.unique(np.concatenate([series.timestamps for series in table.series]))
        references = _reference_tasks(members, rows, spec, timeline, settings)
        judged, refused = _walk_and_judge(members, rows, spec, schedule, settings, references, progress)
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
    references: Mapping[str, Task],
    progress: Progress,
) -> tuple[dict[str, Judged], dict[str, list[StepReport]]]:
    """Walk all members, and again, without the refused step, those that had one."""
    waiting = {kind: settings.steps.get(kind, ()) for kind in members}
    give_up = time.monotonic() + settings.walk_again_s
    refits = len(schedule.refits(int(rows.origin[-1]))) + 1
    judged: dict[str, Judged] = {}
    trained_references: dict[str, NDArray[np.float64]] = {}
    refused: dict[str, list[StepReport]] = {kind: [] for kind in members}
    while waiting:
        tasks = [
            Task(kind, refits, partial(compress_member, rows, spec, trained, waiting[kind], schedule, manifest.seed))
            for kind, (manifest, trained) in members.items()
            if kind in waiting
        ]
        beside = [] if trained_references else list(references.values())
        results = run_tasks([*tasks, *beside], None, progress)
        trained_references |= {kind: results[t.name]["log_variance"] for kind, t in references.items() if t in beside}
        again = {}
        for kind, arrays in ((task.name, results[task.name]) for task in tasks):
            one = judge(kind, waiting[kind], arrays, rows, settings.gates)
            wrong = next((step for step in one.steps if not step.passed), None)
            if wrong is None:
                judged[kind] = one
                continue
            if not settings.keep_passing:
                refuse(kind, wrong.step, wrong.verdicts)
            refused[kind].append(wrong)
            place = one.steps.index(wrong)
            if wrong.step == one.names[-1] or time.monotonic() > give_up:
                judged[kind] = replace(one, names=one.names[: place - 1], steps=one.steps[:place])
            else:
                again[kind] = tuple(name for name in one.names if name != wrong.step)
        waiting = again
    return {kind: beside_trained(judged[kind], rows, trained_references.get(kind)) for kind in members}, refused


def _reference_tasks(
    members: Mapping[str, tuple[MemberManifest, bytes]],
    rows: Rows,
    spec: FeatureSpec,
    timeline: NDArray[np.int64],
    settings: CompressSettings,
) -> dict[str, Task]:
    """Walks of the reference networks by kind of member."""
    if settings.reference_from is None:
        return {}
    schedule = Schedule(int(np.searchsorted(timeline, settings.reference_from)), settings.refit_every)
    refits = len(schedule.refits(int(rows.origin[-1])))
    return {
        kind: Task(f"{kind} reference", refits, partial(walk_reference, rows, spec, kind, schedule, manifest.seed))
        for kind, (manifest, _) in members.items()
        if reference_learner(kind) is not None
    }


def _draft(parent: MemberManifest, one: Judged) -> MemberDraft:
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

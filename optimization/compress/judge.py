"""What a member's walk through its steps is worth: measured, and put to the gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from optimization.compress.gates import GateSettings, Verdict, fidelity_gates, loss_gates
from optimization.compress.latency import Latency, measure
from optimization.compress.reference import json_bytes, reference_model
from optimization.compress.selection import losses_of
from optimization.compress.steps import STEPS
from optimization.ensemble import smearing_factor
from optimization.metrics.losses import mean_loss
from optimization.parallel import Arrays
from optimization.rows import HORIZONS, Rows
from optimization.train.export import export_member
from optimization.train.run import PARITY_WINDOWS
from optimization.train.trained import Trained
from optimization.train.xgboost import BoostedResidual
from predictors.core.errors import WavecastError
from predictors.members.onnx_member import OnnxMember

PARENT = "parent"
LATENCY_GATE = "latency_ratio"


@dataclass(frozen=True, slots=True)
class StepReport:
    """A member after a step (or before any, `PARENT`).

    ``latency_us`` holds by batch the median and the quartiles of the rounds' p50,
    ``latency_vs_reference`` the p50 at batch 1 as a multiple of the reference's; ``qlike`` is out of
    fold, by horizon; ``model_changed`` is false for a step that found nothing to do in the member
    itself. It may have found something in a fold.
    """

    step: str
    structural: bool
    model_changed: bool
    size_bytes: int
    latency_us: dict[str, list[float]]
    latency_vs_reference: float | None
    qlike: list[float]
    verdicts: list[Verdict]

    @property
    def passed(self) -> bool:
        """Whether all gates were passed."""
        return all(verdict.passed for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class Reference:
    """What a member is compared with: a fixed architecture, or XGBoost's JSON of the boosters at their best round.

    ``qlike`` is the reference's by horizon where it was trained, ``member_qlike`` that of the released
    member at the same origins.
    """

    size_bytes: int
    latency_us: dict[str, list[float]] | None
    qlike: list[float] | None = None
    member_qlike: list[float] | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A member's walk through the steps of ``names``, with a report of each; ``arrays`` are `compress_member`'s."""

    names: tuple[str, ...]
    arrays: Arrays
    steps: list[StepReport]
    reference: Reference | None

    @property
    def model(self) -> bytes:
        """The member after the last step."""
        return self.arrays[f"model_{len(self.names)}"].tobytes()

    @property
    def trained(self) -> bytes:
        """Its sidecar."""
        return self.arrays[f"trained_{len(self.names)}"].tobytes()

    @property
    def out_of_fold(self) -> NDArray[np.float64]:
        """Its log-variances (N, H)."""
        return np.asarray(self.arrays["log_variance"][len(self.names)])


def judge(kind: str, names: tuple[str, ...], arrays: Arrays, rows: Rows, gates: GateSettings) -> Judged:
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
        changed = models[label] != models[before]
        forecasts = arrays["log_variance"]
        if changed:
            each, together = answers[label]
            verdicts += [
                Verdict("size_ratio", len(models[label]) / len(models[before]), gates.size_ratio),
                Verdict(LATENCY_GATE, latencies[label].ratio(latencies[before], 1), gates.latency_ratio),
                Verdict("batch", float(np.max(np.abs(each - together))), gates.batch),
            ]
            if not structural:
                verdicts += fidelity_gates(answers[before][0], each, backbone, gates)
        if changed or (place > 0 and not np.array_equal(forecasts[place], forecasts[place - 1], equal_nan=True)):
            if structural and place > 1:
                verdicts += loss_gates(losses[place], losses[place - 1], rows.timestamps, HORIZONS, "input", gates)
            verdicts += loss_gates(losses[place], losses[0], rows.timestamps, HORIZONS, PARENT, gates)
        steps.append(
            StepReport(
                label,
                structural,
                changed,
                len(models[label]),
                latencies[label].summary(),
                None if fixed is None else latencies[label].ratio(latencies["reference"], 1),
                [_mean(kind, label, losses[place][:, h]) for h in range(len(HORIZONS))],
                verdicts,
            )
        )
    return Judged(names, arrays, steps, _reference(names, arrays, fixed, latencies, kind))


def _reference(
    names: tuple[str, ...], arrays: Arrays, fixed: bytes | None, latencies: Mapping[str, Latency], kind: str
) -> Reference:
    if fixed is not None:
        return Reference(len(fixed), latencies["reference"].summary())
    place = names.index("early-stop") + 1 if "early-stop" in names else 0
    best = Trained.from_bytes(arrays[f"trained_{place}"].tobytes(), kind).fitted
    assert isinstance(best, BoostedResidual)
    return Reference(json_bytes(best), None)


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


def beside_trained(one: Judged, rows: Rows, log_variance: NDArray[np.float64] | None) -> Judged:
    """Add to a member's reference the losses of both where the reference has forecast."""
    if log_variance is None or one.reference is None:
        return one
    own = np.where(np.isfinite(log_variance), one.out_of_fold, np.nan)
    theirs, ours = (losses_of(rows, _calibrated(rows, values)) for values in (log_variance, own))
    means = [[mean_loss(losses[:, h]).mean for h in range(len(HORIZONS))] for losses in (theirs, ours)]
    return replace(one, reference=replace(one.reference, qlike=means[0], member_qlike=means[1]))

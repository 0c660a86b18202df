"""What a compressed member must hold against the member that it came from.

A loss alone is no gate: an int8 network whose sums saturate can by chance lose less than the
network that it should reproduce, and be a different model. Fidelity alone is none either: it says
nothing of structural steps, which may change the answers as long as they are as good.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.metrics.diebold_mariano import diebold_mariano_panel
from predictors.core.errors import WavecastError

Floats = NDArray[np.float64]


class GateRefused(WavecastError):
    """A candidate did not pass a gate; nothing was written."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Limits of the gates.

    Attributes
    ----------
    fidelity
        Of numeric steps: largest RMSE against the step's input, as a part of the input's standard deviation.
    loss_ratio
        Largest mean out-of-fold QLIKE as a multiple of that of the step's input, and of the parent.
    significance
        Level of the one-sided Diebold-Mariano test of "its input (or the parent) loses less".
    batch
        Largest difference of a log-variance between batch 1 and batch 100.
    size_ratio
        Largest model as a multiple of the step's input.
    latency_ratio
        Largest p50 at batch 1 as a multiple of that of the step's input, measured side by side.
    """

    fidelity: float = 0.03
    loss_ratio: float = 1.01
    significance: float = 0.05
    batch: float = 1e-6
    size_ratio: float = 1.0
    latency_ratio: float = 1.1


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate: ``value`` must be at most ``limit``, or at least if ``floor``."""

    gate: str
    value: float
    limit: float
    floor: bool = False

    @property
    def passed(self) -> bool:
        """Whether it holds; what is not a number never does."""
        return self.value >= self.limit if self.floor else self.value <= self.limit

    def __str__(self) -> str:
        return f"{self.gate} is {self.value:.4g}, {'at least' if self.floor else 'at most'} {self.limit:g} is allowed"


def fidelity_gates(before: Floats, after: Floats, backbone: Floats, settings: GateSettings) -> list[Verdict]:
    """Whether a numeric step kept the answers.

    The backbone is most of an answer and no numeric step touches it, so an error that is small
    beside the whole can be as large as all that the residual adds. Both are gated; the residual's is the strict one.

    Parameters
    ----------
    before, after
        float64 (N, H) log-variances of the same windows at batch 1.
    backbone
        float64 (N, H), of the backbone alone.
    """
    error = np.sqrt(np.mean((after - before) ** 2, axis=0))
    return [
        Verdict("fidelity_residual", _part(error, before - backbone), settings.fidelity),
        Verdict("fidelity_whole", _part(error, before), settings.fidelity),
    ]


def _part(error: Floats, of: Floats) -> float:
    """The worst horizon's error beside the standard deviation; 0 where there is neither."""
    return max(
        0.0 if wrong == 0.0 else float(wrong / spread) if spread > 0.0 else math.inf
        for wrong, spread in zip(error, of.std(axis=0), strict=True)
    )


def loss_gates(
    losses: Floats,
    reference: Floats,
    timestamps: NDArray[np.int64],
    horizons: tuple[int, ...],
    against: str,
    settings: GateSettings,
) -> list[Verdict]:
    """Whether paired out-of-fold losses are within the limit, and not significantly worse.

    Parameters
    ----------
    losses, reference
        float64 (N, H) QLIKE of the candidate and of what it is compared with; NaN is left out.
    timestamps
        int64 (N,), forecast origins.
    against
        Name of what it is compared with.
    """
    verdicts = []
    for h, horizon in enumerate(horizons):
        paired = np.isfinite(losses[:, h]) & np.isfinite(reference[:, h])
        ratio = float(np.divide(losses[paired, h].mean(), reference[paired, h].mean()))
        test = diebold_mariano_panel(reference[:, h], losses[:, h], timestamps, horizon)
        verdicts += [
            Verdict(f"qlike_h{horizon}_vs_{against}", ratio, settings.loss_ratio),
            Verdict(f"dm_p_h{horizon}_vs_{against}", test.p_less, settings.significance, floor=True),
        ]
    return verdicts


def refuse(kind: str, step: str, verdicts: Iterable[Verdict]) -> None:
    """Raise for the gates that were not passed.

    Raises
    ------
    GateRefused
        Naming them, by how much, and the step.
    """
    failed = [str(verdict) for verdict in verdicts if not verdict.passed]
    if failed:
        raise GateRefused(f"{kind}: step '{step}' is refused, nothing was written: {'; '.join(failed)}")

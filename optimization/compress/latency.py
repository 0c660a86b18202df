"""Latency of several models side by side, so that their ratios are those of the models and not of the minute."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.members.onnx_member import OnnxMember

BATCHES = (1, 10, 100)
ROUNDS = 15
_CALLS = {1: 40, 10: 20, 100: 5}


@dataclass(frozen=True, slots=True)
class Latency:
    """p50 of each round in microseconds, float64 (`ROUNDS`,), by batch."""

    rounds: dict[int, NDArray[np.float64]]

    def summary(self) -> dict[str, list[float]]:
        """Median, lower and upper quartile of the rounds by batch, in microseconds."""
        return {str(b): [float(q) for q in np.quantile(v, [0.5, 0.25, 0.75])] for b, v in self.rounds.items()}

    def ratio(self, other: Latency, batch: int) -> float:
        """Median over the rounds of this p50 as a multiple of the other's in the same round."""
        return float(np.median(self.rounds[batch] / other.rounds[batch]))


def measure(
    models: Mapping[str, bytes], tabular: NDArray[np.float32], sequence: NDArray[np.float32]
) -> dict[str, Latency]:
    """Time the models on one thread, taking turns call by call.

    Parameters
    ----------
    models
        By name.
    tabular, sequence
        At least 100 windows.
    """
    members = {name: OnnxMember(model) for name, model in models.items()}
    out = {name: Latency({batch: np.empty(ROUNDS) for batch in BATCHES}) for name in members}
    for batch in BATCHES:
        blocks = np.ascontiguousarray(tabular[:batch]), np.ascontiguousarray(sequence[:batch])
        for member in members.values():
            member.log_variance(*blocks)
        for number in range(ROUNDS):
            taken: dict[str, list[int]] = {name: [] for name in members}
            for _ in range(_CALLS[batch]):
                for name, member in members.items():
                    begun = time.perf_counter_ns()
                    member.log_variance(*blocks)
                    taken[name].append(time.perf_counter_ns() - begun)
            for name, times in taken.items():
                out[name].rounds[batch][number] = np.median(times) / 1e3
    return out

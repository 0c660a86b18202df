"""What a member takes to answer one window, beside a reference that is measured in the same moments."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.members.onnx_member import OnnxMember

ROUNDS = 21
CALLS = 50


@dataclass(frozen=True, slots=True)
class Latency:
    """p50 at batch 1 on one thread; medians of the rounds.

    Attributes
    ----------
    microseconds, reference_microseconds
        Of the member and of the reference.
    ratio
        Median of the rounds' ratios: what is compared, because a busy machine slows both.
    spread
        Half the interquartile range of the rounds' ratios.
    """

    microseconds: float
    reference_microseconds: float
    ratio: float
    spread: float


def measure(
    member: OnnxMember, reference: OnnxMember, tabular: NDArray[np.float32], sequence: NDArray[np.float32]
) -> Latency:
    """Time both models in turn, `ROUNDS` times `CALLS` calls each, after a round that does not count.

    Parameters
    ----------
    tabular, sequence
        Windows to ask, one after the other; at least `CALLS`.
    """
    rounds = np.empty((ROUNDS + 1, 2))
    collecting = gc.isenabled()
    gc.disable()
    try:
        for at in range(ROUNDS + 1):
            for column, model in enumerate((member, reference) if at % 2 else (reference, member)):
                rounds[at, column if at % 2 else 1 - column] = _p50(model, tabular, sequence)
    finally:
        if collecting:
            gc.enable()
    ratios = rounds[1:, 0] / rounds[1:, 1]
    low, high = np.percentile(ratios, [25, 75])
    own, other = np.median(rounds[1:], axis=0)
    return Latency(float(own), float(other), float(np.median(ratios)), float(high - low) / 2)


def _p50(model: OnnxMember, tabular: NDArray[np.float32], sequence: NDArray[np.float32]) -> float:
    """Median microseconds of `CALLS` calls."""
    times = np.empty(CALLS)
    for i in range(CALLS):
        one = slice(i, i + 1)
        began = time.perf_counter_ns()
        model.log_variance(tabular[one], sequence[one])
        times[i] = time.perf_counter_ns() - began
    return float(np.median(times)) / 1000.0

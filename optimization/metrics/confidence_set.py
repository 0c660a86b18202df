"""The models among which the data cannot tell the best: Hansen, Lunde & Nason (2011), doi:10.3982/ECTA5771."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from arch.bootstrap import MCS
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput

BOOTSTRAP_REPLICATIONS = 1000


@dataclass(frozen=True, slots=True)
class ConfidenceSet:
    """Models that stay at the size of the test, and the p-value at which each would leave."""

    included: tuple[str, ...]
    p_values: dict[str, float]


def model_confidence_set(losses: Mapping[str, NDArray[np.float64]], size: float = 0.10, *, seed: int) -> ConfidenceSet:
    """Model confidence set by the range statistic and a stationary bootstrap, block √n.

    Parameters
    ----------
    losses
        float64 (n,) per model, in order of time, at the same origins. Origins at which any
        model has a NaN are left out. Models with equal losses share one place in the set.
    size
        1 - confidence, in (0, 1).
    seed
        Of the bootstrap.

    Raises
    ------
    InvalidInput
        If no origin has losses of all models.
    """
    table = np.column_stack(list(losses.values()))
    table = table[np.isfinite(table).all(axis=1)]
    if not len(table):
        raise InvalidInput(f"no origin has losses of all {len(losses)} models; compare models on common origins")
    # A pair that never differs has no variance to divide by.
    distinct, place = np.unique(table, axis=1, return_inverse=True)
    p_values = np.ones(distinct.shape[1])
    if len(p_values) > 1:
        mcs = MCS(distinct, size, BOOTSTRAP_REPLICATIONS, block_size=math.isqrt(len(table)), method="R", seed=seed)
        mcs.compute()
        p_values[mcs.pvalues.index] = mcs.pvalues["Pvalue"]
    by_name = {name: float(p_values[column]) for name, column in zip(losses, place, strict=True)}
    return ConfidenceSet(tuple(name for name, p in by_name.items() if p > size), by_name)

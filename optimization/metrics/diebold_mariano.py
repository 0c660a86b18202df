"""Diebold-Mariano test of equal accuracy, and Holm's adjustment for several of them.

References
----------
Diebold & Mariano (1995), doi:10.1080/07350015.1995.10524599; small-sample correction: Harvey,
Leybourne & Newbold (1997), doi:10.1016/S0169-2070(96)00719-4; Holm (1979), jstor 4615733.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from predictors.core.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DmResult:
    """Outcome of a Diebold-Mariano test.

    Attributes
    ----------
    t
        Statistic; negative favours the first model.
    p_less
        One-sided p-value of "the first model has the smaller loss".
    mean_difference
        Mean of first minus second loss.
    n
        Loss differences used.
    """

    t: float
    p_less: float
    mean_difference: float
    n: int


def diebold_mariano(loss_a: Floats, loss_b: Floats, horizon_bars: int) -> DmResult:
    """Test two series of losses of h-step forecasts.

    The long-run variance has a Bartlett kernel with max(h - 1, floor(n^(1/3))) lags, which the
    overlap of the targets and left-over dependence both need; t follows Student's law with
    n - 1 degrees of freedom after the correction of Harvey, Leybourne & Newbold.

    Parameters
    ----------
    loss_a, loss_b
        float64 (n,), in order of time. Pairs with a NaN are left out.
    horizon_bars
        h >= 1.

    Returns
    -------
    t is 0 for equal losses and infinite for a difference that never varies.

    Raises
    ------
    InvalidInput
        If the lengths differ or not more than max(h, 2) pairs remain.
    """
    if loss_a.shape != loss_b.shape:
        raise InvalidInput(f"losses of {loss_a.shape} and {loss_b.shape} cannot be compared; give the same origins")
    difference = loss_a - loss_b
    d = difference[np.isfinite(difference)]
    n, h = d.size, horizon_bars
    if n <= max(h, 2):
        raise InvalidInput(f"{n} loss differences are too few to test a horizon of {h} bars; use a longer backtest")
    mean = float(d.mean())
    centred = d - mean
    lags = min(max(h - 1, math.floor(math.cbrt(n))), n - 1)
    covariance = [float((centred[lag:] * centred[: n - lag]).sum()) / n for lag in range(lags + 1)]
    long_run = covariance[0] + 2.0 * sum((1.0 - k / (lags + 1)) * covariance[k] for k in range(1, lags + 1))
    correction = math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    if mean == 0.0:
        t = 0.0
    elif long_run > 0.0:
        t = correction * mean / math.sqrt(long_run / n)
    else:
        t = math.copysign(math.inf, mean)
    return DmResult(t, float(student.cdf(t, n - 1)), mean, n)


def diebold_mariano_panel(loss_a: Floats, loss_b: Floats, timestamps: NDArray[np.int64], horizon_bars: int) -> DmResult:
    """Test a panel: differences are averaged over the symbols of each timestamp first.

    Symbols move together, so the timestamps and not the rows are the independent draws.

    Parameters
    ----------
    loss_a, loss_b
        float64 (rows,), of all symbols, in any order. Pairs with a NaN are left out.
    timestamps
        int64 (rows,), forecast origins.
    horizon_bars
        h >= 1.
    """
    difference = loss_a - loss_b
    known = np.isfinite(difference)
    _, group = np.unique(timestamps[known], return_inverse=True)
    averaged = np.bincount(group, weights=difference[known]) / np.bincount(group)
    return diebold_mariano(averaged, np.zeros_like(averaged), horizon_bars)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjusted p-values, which bound the chance of any false rejection."""
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}

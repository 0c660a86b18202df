"""From out-of-fold forecasts to weights, smearing factors and interval offsets.

Everything is fitted on matured forecasts only, for every subset of members, because a degraded
answer needs the calibration of the subset that answered.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from predictors.core.artifact import Calibration, subset_key, subsets
from predictors.router.combine import log_mean

QUANTILE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
RECENT_FORECASTS = 500
"""Interval offsets follow the last forecasts: older errors undercover in calm and in crisis."""
MIN_FORECASTS = 100
"""Fewer matured forecasts than this leave the weights equal."""
_SUM_WEIGHT = 1e3


def calibrate(forecasts: Mapping[str, NDArray[np.float64]], log_target: NDArray[np.float64]) -> dict[str, Calibration]:
    """Calibrate every subset of members.

    Parameters
    ----------
    forecasts
        By member, float64 (N, H) out-of-fold log-variances, in order of time; NaN where none was made.
    log_target
        float64 (N, H); NaN where a horizon has not matured.

    Returns
    -------
    By `subset_key`.
    """
    made = np.logical_and.reduce([np.isfinite(values) for values in forecasts.values()])
    log_target = np.where(made, log_target, np.nan)
    weights = member_weights(forecasts, log_target)
    out = {}
    for kinds in subsets(forecasts):
        total = sum(weights[kind] for kind in kinds)
        # A subset whose members all have weight 0 in the full ensemble shares equally.
        own = {kind: weights[kind] / total if total > 0 else 1 / len(kinds) for kind in kinds}
        errors = log_target - log_mean({kind: forecasts[kind] for kind in kinds}, own)
        out[subset_key(kinds)] = Calibration(
            weights=own,
            smearing=tuple(smearing_factor(errors[:, h]) for h in range(errors.shape[1])),
            offsets=tuple(_offsets(errors[:, h]) for h in range(errors.shape[1])),
        )
    return out


def member_weights(forecasts: Mapping[str, NDArray[np.float64]], log_target: NDArray[np.float64]) -> dict[str, float]:
    """Non-negative least squares on the log-variance, summing to 1, shrunk half-way to equal weights.

    All horizons are fitted together; rows with an unknown target are left out.
    """
    kinds = sorted(forecasts)
    equal = 1.0 / len(kinds)
    known = np.isfinite(log_target)
    if known.sum() < MIN_FORECASTS * log_target.shape[1]:
        return dict.fromkeys(kinds, equal)
    y = log_target[known]
    x = np.stack([forecasts[kind][known] for kind in kinds], axis=1)
    # The members differ by little: fit their differences from the common mean, at unit scale.
    scale = np.sqrt(np.mean((y - x.mean(axis=1)) ** 2))
    design = np.vstack([(x - y[:, None]) / scale / np.sqrt(len(y)), np.full((1, len(kinds)), _SUM_WEIGHT)])
    solution, _ = nnls(design, np.append(np.zeros(len(y)), _SUM_WEIGHT))
    solution /= solution.sum()
    return {kind: 0.5 * float(weight) + 0.5 * equal for kind, weight in zip(kinds, solution, strict=True)}


def smearing_factor(errors: NDArray[np.float64]) -> float:
    """Mean of exp(error) around the mean error (Duan 1983, doi:10.1080/01621459.1983.10478017).

    Parameters
    ----------
    errors
        Out-of-fold errors of the log-variance; NaN where unknown, and left out.

    Notes
    -----
    Only the dispersion of the errors is used. Their mean is what volatility happened to drift by
    over the history; carried into the factor it forecasts that drift again, and loses.
    """
    known = errors[np.isfinite(errors)]
    return float(np.mean(np.exp(known - known.mean())))


def _offsets(errors: NDArray[np.float64]) -> tuple[float, ...]:
    """Quantiles of the last errors, at ranks (n + 1) p: split-conformal at both ends."""
    recent = errors[np.isfinite(errors)][-RECENT_FORECASTS:]
    return tuple(float(q) for q in np.quantile(recent, QUANTILE_LEVELS, method="weibull"))

"""Intervals of the backtest: past matured errors set the scale, ACI corrects the level.

Each quantile level and horizon has its own controller (Gibbs & Candès 2021, arXiv:2106.00170),
updated only by forecasts that have matured.
"""

from __future__ import annotations

from bisect import insort

import numpy as np
from numpy.typing import NDArray

from optimization.ensemble import QUANTILE_LEVELS

STEP = 0.005
HALF_LIFE_BARS = 66
WARM_UP_FORECASTS = 50
"""Matured errors needed before an interval is given."""


def adaptive_quantiles(
    log_forecast: NDArray[np.float64], log_target: NDArray[np.float64], horizon_bars: int
) -> NDArray[np.float64]:
    """Quantiles of the log-variance, each from errors known at its origin.

    Parameters
    ----------
    log_forecast
        float64 (n,): forecasts of one series at consecutive origins, NaN where none was made.
    log_target
        float64 (n,): their targets, NaN where unknown; that of origin i is known at i + h.
    horizon_bars
        h.

    Returns
    -------
    float64 (n, Q) for `QUANTILE_LEVELS`, ascending in Q; NaN until enough errors have matured.
    """
    levels = np.array(QUANTILE_LEVELS)
    adjusted = levels.copy()
    out = np.full((len(log_forecast), len(levels)), np.nan)
    decay = 0.5 ** (1.0 / HALF_LIFE_BARS)
    square, weight = 0.0, 0.0
    scale = np.full(len(log_forecast), np.nan)
    scores: list[float] = []
    for t in range(len(log_forecast)):
        matured = t - horizon_bars
        if matured >= 0:
            error = log_target[matured] - log_forecast[matured]
            if np.isfinite(error):
                square, weight = decay * square + error * error, decay * weight + 1.0
                if np.isfinite(scale[matured]):
                    insort(scores, float(error / scale[matured]))
                if np.isfinite(out[matured, 0]):
                    adjusted += STEP * (levels - (log_target[matured] <= out[matured]))
        if weight > 0.0 and np.isfinite(log_forecast[t]):
            scale[t] = np.sqrt(square / weight)
            if len(scores) >= WARM_UP_FORECASTS:
                out[t] = np.sort(log_forecast[t] + scale[t] * _quantiles(scores, adjusted))
    return out


def _quantiles(ordered: list[float], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles at ranks (n + 1) p; levels outside [0, 1] take the extreme score."""
    count = len(ordered)
    position = np.clip((count + 1) * levels - 1.0, 0.0, count - 1.0)
    lower = np.floor(position).astype(int)
    upper = np.minimum(lower + 1, count - 1)
    low = np.array([ordered[i] for i in lower])
    high = np.array([ordered[i] for i in upper])
    return np.asarray(low + (position - lower) * (high - low))

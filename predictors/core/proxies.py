"""Variance proxies: one number per bar from its prices, not annualised, no overnight gap.

Sources: Garman & Klass (1980), doi:10.1086/296072; Parkinson (1980), doi:10.1086/296071.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput
from predictors.core.window import CLOSE, HIGH, LOW, OPEN

REALISED = "realised"
"""A column of the file instead of a formula: for offline evaluation, never published."""

PROXIES = ("garman_klass", "parkinson", "squared_return", REALISED)
REALISED_COLUMN = 5

_GK_CLOSE = 2.0 * math.log(2.0) - 1.0
_PARKINSON = 1.0 / (4.0 * math.log(2.0))


def variance_proxy(name: str, bars: NDArray[np.float64], log_prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance proxy of each bar.

    Parameters
    ----------
    name
        One of `PROXIES`.
    bars
        float64 (..., T, 5), or (..., T, 6) where the last column is the ``realised`` variance.
    log_prices
        float64 (..., T, 4): natural logarithms of open, high, low, close.

    Returns
    -------
    float64 (..., T), in squared log-return per bar, >= 0. ``squared_return`` of the first bar,
    whose previous close is unknown, is ln²(C/O).

    Raises
    ------
    InvalidInput
        For an unknown name.
    """
    if name == "garman_klass":
        high_low = log_prices[..., HIGH] - log_prices[..., LOW]
        close_open = log_prices[..., CLOSE] - log_prices[..., OPEN]
        return np.asarray(0.5 * high_low * high_low - _GK_CLOSE * (close_open * close_open))
    if name == "parkinson":
        high_low = log_prices[..., HIGH] - log_prices[..., LOW]
        return np.asarray(_PARKINSON * (high_low * high_low))
    if name == "squared_return":
        r = close_returns(log_prices)
        return np.asarray(r * r)
    if name == REALISED:
        return np.ascontiguousarray(bars[..., REALISED_COLUMN])
    raise InvalidInput(f"unknown variance proxy '{name}'; choose one of {', '.join(PROXIES)}")


def close_returns(log_prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Close-to-close log returns (..., T); the first bar's is ln(C/O), its previous close unknown."""
    close = log_prices[..., CLOSE]
    out = np.empty_like(close)
    out[..., 0] = close[..., 0] - log_prices[..., 0, OPEN]
    np.subtract(close[..., 1:], close[..., :-1], out=out[..., 1:])
    return out

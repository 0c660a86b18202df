"""Bars to ask a server with when nobody has given any."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_DAY_NS = 86_400 * 10**9
_FIRST_DAY = 18_262  # 2020-01-01, in days since the epoch
_PERSISTENCE, _SHOCK = 0.97, 0.15


def sample_windows(windows: int, window_bars: int, seed: int) -> dict[str, NDArray[Any]]:
    """Made-up but valid daily bars: a random walk with persistent stochastic volatility around 1 % a day.

    They exercise a server; they are no market, and forecasts of them mean nothing.

    Returns
    -------
    ``bars`` float64 (windows, window_bars, 5), prices in cents' steps, and ``timestamps`` int64
    (windows, window_bars), ns. The same arguments give the same bits.
    """
    random = np.random.default_rng(seed)
    shape = (windows, window_bars)
    log_volatility = np.empty(shape)
    level = random.normal(0.0, 0.5, windows)
    for bar in range(window_bars):
        level = _PERSISTENCE * level + _SHOCK * random.normal(size=windows)
        log_volatility[:, bar] = level
    sigma = 0.01 * np.exp(log_volatility)
    close = 1000.0 * np.exp(np.cumsum(sigma * random.normal(size=shape), axis=1))
    open_ = np.concatenate([np.full((windows, 1), 1000.0), close[:, :-1]], axis=1)
    high = np.maximum(open_, close) * np.exp(sigma * random.exponential(0.5, shape))
    low = np.minimum(open_, close) * np.exp(-sigma * random.exponential(0.5, shape))
    volume = np.round(np.exp(random.normal(14.0, 0.3, shape)))
    bars = np.stack([*(np.round(price, 2) for price in (open_, high, low, close)), volume], axis=2)
    days = _FIRST_DAY + np.arange(window_bars, dtype=np.int64)
    return {"bars": np.ascontiguousarray(bars), "timestamps": np.tile(days * _DAY_NS, (windows, 1))}

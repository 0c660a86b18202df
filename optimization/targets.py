"""What is forecast: the log of the mean variance proxy over the next h bars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from predictors.wavelet.features import FLOOR_SHARE

FLOOR_BARS = 128


def realised_variance(proxy: NDArray[np.float64], horizon_bars: int) -> NDArray[np.float64]:
    """Mean proxy over t+1..t+h, never floored.

    Parameters
    ----------
    proxy
        float64 (N,), variance proxy of each bar.
    horizon_bars
        h.

    Returns
    -------
    float64 (N,); NaN for the last h bars, whose target is not known yet.
    """
    return _mean_ahead(np.lib.stride_tricks.sliding_window_view(proxy, horizon_bars), len(proxy), horizon_bars)


def log_variance_target(proxy: NDArray[np.float64], horizon_bars: int) -> NDArray[np.float64]:
    """ln of the mean proxy over t+1..t+h, each proxy raised to a floor known at bar t+h.

    The floor is 5 % of the median of the 128 proxies that end at t+h.

    Returns
    -------
    float64 (N,); NaN where the target is not known yet, or fewer than 128 bars or only zero
    ranges make a floor impossible.
    """
    if len(proxy) < FLOOR_BARS + horizon_bars:
        return np.full(len(proxy), np.nan)
    ahead = np.lib.stride_tricks.sliding_window_view(proxy, horizon_bars)
    floors = _floors(proxy)[horizon_bars - 1 :]
    return np.log(_mean_ahead(np.maximum(ahead, floors[:, None]), len(proxy), horizon_bars))


def floored_proxy(proxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each bar's proxy, raised to 5 % of the median of the 128 proxies that end at it.

    Returns
    -------
    float64 (N,); NaN for the first 127 bars and where the median is 0.
    """
    return np.maximum(proxy, _floors(proxy))


def _floors(proxy: NDArray[np.float64]) -> NDArray[np.float64]:
    floors = np.full(len(proxy), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(proxy, FLOOR_BARS)
    floors[FLOOR_BARS - 1 :] = FLOOR_SHARE * np.median(windows, axis=1)
    floors[floors <= 0.0] = np.nan
    return floors


def _mean_ahead(windows: NDArray[np.float64], bars: int, horizon_bars: int) -> NDArray[np.float64]:
    """Row i of ``windows`` covers bars i..i+h-1; its mean belongs to origin i-1."""
    out = np.full(bars, np.nan)
    total = windows[1:, 0].copy()
    for ahead in range(1, horizon_bars):
        total += windows[1:, ahead]
    out[: bars - horizon_bars] = total / horizon_bars
    return out

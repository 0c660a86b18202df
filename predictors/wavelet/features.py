"""The one function that computes features, whoever asks: training, backtest, server or stream.

Everything is recomputed from the window in one fixed order, element by element or along the
time axis only, so that a window's features are the same bits alone, in a batch, or in a stream.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput
from predictors.core.features import FeatureBlock
from predictors.core.proxies import close_returns, variance_proxy
from predictors.core.window import CLOSE, OPEN, VOLUME
from predictors.wavelet.modwt import modwt, modwt_filter
from predictors.wavelet.spec import (
    DISPERSION_BARS,
    ECHO_BARS,
    ECHO_HALF_WIDTH_BARS,
    GROUPS,
    LEVEL_BARS,
    LEVERAGE_BARS,
    TRAILING_BARS,
    FeatureSpec,
)

FLOOR_SHARE = 0.05
"""The proxy is raised to this share of the window's median: a bar without range has no logarithm."""

_RETURN_CLIP = 6.0
_VOLUME_CLIP = 3.0
_VOLUME_UNIT = 2.0**-10  # a power of two alters no bit, and a sum of any finite volumes stays finite
_ENERGY_OFFSET = 1e-6
_SQUARE_OFFSET = 0.01
_TINY = 1e-12
_CHUNK_WINDOWS = 256

# Positions in trailing sums and means, where k bars stand at k - 1.
_LEVEL = np.array(LEVEL_BARS) - 1
_LEVERAGE = np.array(LEVERAGE_BARS) - 1
_DISPERSION = np.array(DISPERSION_BARS) - 1
_MONTH = slice(21, 22)
_QUARTER = slice(63, 64)
_ECHO_END = np.array(ECHO_BARS) + ECHO_HALF_WIDTH_BARS
_ECHO_START = np.array(ECHO_BARS) - ECHO_HALF_WIDTH_BARS - 1
_ECHO_WIDTH_BARS = 2 * ECHO_HALF_WIDTH_BARS + 1
_COUNTS = np.arange(1.0, TRAILING_BARS + 1.0)


def compute_features(bars: NDArray[np.float64], spec: FeatureSpec, first_window: int = 0) -> FeatureBlock:
    """Features of B windows of exactly ``spec.window_bars`` bars that `check_windows` accepts.

    Parameters
    ----------
    bars
        float64 (B, T, 5), C-contiguous; (B, T, 6) for the proxy ``realised``.
    spec
        What to compute.
    first_window
        Number of the first of these windows, for the message of an error.

    Returns
    -------
    FeatureBlock
        Of the windows' last bars.

    Raises
    ------
    InvalidInput
        If the windows are of another length, or the median variance proxy of one is 0, naming it.
    """
    if bars.shape[1] != spec.window_bars:
        raise InvalidInput(
            f"windows have {bars.shape[1]} bars; the feature spec computes windows of {spec.window_bars}"
        )
    log_prices = np.log(np.ascontiguousarray(bars[..., :4]))
    raw_variance = variance_proxy(spec.proxy, bars, log_prices)
    variance, floored = _floor(raw_variance, spec.proxy, first_window)
    returns = close_returns(log_prices)
    log_variance = np.log(variance)

    # Trailing sums and means: [:, i, k - 1] covers the last k bars of series i.
    centred = log_variance - log_variance[:, -1:]
    volume = _VOLUME_UNIT * bars[..., VOLUME]
    series = np.stack([variance, returns, returns * returns, volume, centred, centred * centred], axis=1)
    sums = np.add.accumulate(series[..., : -TRAILING_BARS - 1 : -1], axis=-1)
    means = sums / _COUNTS
    scale = np.sqrt(means[:, 0, _MONTH])

    # Coefficients (B, 2 series, J + 2, S): W_1..W_J, V_J and the series itself.
    standardised = np.minimum(np.maximum(returns / scale, -_RETURN_CLIP), _RETURN_CLIP)
    coefficients = _coefficients(np.stack([log_variance, standardised], axis=1), spec)

    tabular = np.empty((len(bars), len(spec.columns)), np.float32)
    start = 0
    for group in spec.groups:
        values = _group(group, sums, means, scale, coefficients, log_prices)
        tabular[:, start : start + values.shape[1]] = values
        start += values.shape[1]
    sequence = np.empty((len(bars), spec.sequence_bars, len(spec.channels)), np.float32)
    sequence[...] = coefficients.reshape(len(bars), -1, spec.sequence_bars).swapaxes(1, 2)
    return FeatureBlock(tabular, sequence, spec.hash, floored)


def series_features(bars: NDArray[np.float64], spec: FeatureSpec) -> FeatureBlock:
    """Features of every window of one series: row i belongs to bar ``spec.window_bars - 1 + i``.

    Parameters
    ----------
    bars
        float64 (N, 5) or (N, 6), N >= ``spec.window_bars``.
    spec
        What to compute.

    Raises
    ------
    InvalidInput
        If the series is shorter than one window, or the median proxy of a window is 0.
    """
    if len(bars) < spec.window_bars:
        raise InvalidInput(f"{len(bars)} bars are too few; one window needs {spec.window_bars}")
    windows = np.lib.stride_tricks.sliding_window_view(bars, spec.window_bars, axis=0).swapaxes(1, 2)
    blocks = [
        compute_features(np.ascontiguousarray(windows[i : i + _CHUNK_WINDOWS]), spec, i)
        for i in range(0, len(windows), _CHUNK_WINDOWS)
    ]
    return FeatureBlock(
        np.concatenate([block.tabular for block in blocks]),
        np.concatenate([block.sequence for block in blocks]),
        spec.hash,
        np.concatenate([block.floored_bars for block in blocks]),
    )


def _floor(raw: NDArray[np.float64], proxy: str, first_window: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    half = raw.shape[-1] // 2
    ordered = np.partition(raw, (half - 1, half), axis=-1)
    odd = raw.shape[-1] % 2
    median = ordered[:, half] if odd else 0.5 * (ordered[:, half - 1] + ordered[:, half])
    floor = FLOOR_SHARE * median[:, None]
    if not floor.min() > 0.0:
        window = int(np.argmax(~(floor[:, 0] > 0.0)))
        raise InvalidInput(
            f"window {first_window + window}: the median {proxy} variance of its {raw.shape[-1]} bars is "
            f"{median[window]:g}; more than half of the bars need a price range"
        )
    return np.maximum(raw, floor), np.add.reduce(raw < floor, axis=-1, dtype=np.int64)


def _coefficients(series: NDArray[np.float64], spec: FeatureSpec) -> NDArray[np.float64]:
    steps = spec.sequence_bars
    out = np.empty((len(series), 2, spec.levels + 2, steps))
    wavelet, scaling = modwt(series, modwt_filter(spec.filter), spec.levels)
    for level, detail in enumerate(wavelet):
        out[:, :, level] = detail[..., -steps:]
    out[:, :, -2] = scaling[..., -steps:]
    out[:, :, -1] = series[..., -steps:]
    return out


def _group(
    group: str,
    sums: NDArray[np.float64],
    means: NDArray[np.float64],
    scale: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    log_prices: NDArray[np.float64],
) -> NDArray[np.float64]:
    """One feature group, float64 (B, columns of the group)."""
    if group == "level":
        return _log(means[:, 0, _LEVEL])
    if group == "haar":
        return np.asarray(coefficients[:, 0, :-1, -1])
    if group == "leverage":
        return np.asarray(means[:, 1, _LEVERAGE] / scale)
    if group == "downside":
        return np.asarray(np.minimum(means[:, 1, _LEVERAGE] / scale, 0.0))
    if group == "return_haar":
        return np.asarray(coefficients[:, 1, :-1, -1])
    if group == "energy":
        details = coefficients[:, 1, :-2]
        return _log(np.add.reduce(details * details, axis=-1) / details.shape[-1] + _ENERGY_OFFSET)
    if group == "activity":
        gap = (log_prices[:, -1:, OPEN] - log_prices[:, -2:-1, CLOSE]) / scale
        squares = means[:, 2, _LEVEL] / (scale * scale)
        absolute = np.abs(coefficients[:, 1, -1:, -1])
        return np.concatenate([absolute, _log(np.concatenate([gap * gap, squares], 1) + _SQUARE_OFFSET)], 1)
    if group == "volume":
        quarter = means[:, 3, _QUARTER]
        known = quarter > 0.0
        ratio = means[:, 3, _LEVEL] / np.where(known, quarter, 1.0)
        logs = np.minimum(np.maximum(_log(np.maximum(ratio, _TINY)), -_VOLUME_CLIP), _VOLUME_CLIP)
        return np.asarray(np.where(known, logs, 0.0))
    if group == "dispersion":
        mean = means[:, 4, _DISPERSION]
        # Never negative: the origin's own value is 0, so the values differ by more than rounding or not at all.
        return np.asarray(np.sqrt(means[:, 5, _DISPERSION] - mean * mean))
    if group == "echo":
        around = sums[:, 0, _ECHO_END] - sums[:, 0, _ECHO_START]
        month = means[:, 0, _MONTH]
        return _log(np.maximum(around / _ECHO_WIDTH_BARS, _TINY * month) / month)
    raise AssertionError(f"group '{group}' is not one of {GROUPS}")  # FeatureSpec admits no other


def _log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of a contiguous copy: NumPy may round strided input differently."""
    return np.log(np.ascontiguousarray(x))

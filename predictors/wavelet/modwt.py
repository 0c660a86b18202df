"""Causal maximal-overlap discrete wavelet transform: the pyramid of Percival & Walden.

References
----------
Percival, D. B. & Walden, A. T. (2000), *Wavelet Methods for Time Series Analysis*, ch. 5,
doi:10.1017/CBO9780511841040.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pywt
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ModwtFilter:
    """Taps of one MODWT filter pair: ``scaling`` g̃ = g/√2 and ``wavelet`` h̃_l = (-1)^l g̃_{L-1-l}."""

    name: str
    scaling: tuple[float, ...]
    wavelet: tuple[float, ...]

    def boundary(self, level: int) -> int:
        """Coefficients at ``level`` that touch the time before the series: (2^level - 1)(L - 1)."""
        return ((1 << level) - 1) * (len(self.scaling) - 1)


@lru_cache(maxsize=32)
def modwt_filter(name: str) -> ModwtFilter:
    """The MODWT filter of an orthogonal PyWavelets wavelet.

    Percival & Walden's scaling filter is PyWavelets' reconstruction low-pass for the
    extremal-phase family (D4 = db2, D8 = db4) and the decomposition low-pass for the
    least-asymmetric one (LA8 = sym4), which is how waveslim tabulates them.

    Raises
    ------
    InvalidInput
        If PyWavelets has no orthogonal wavelet of that name.
    """
    if name not in pywt.wavelist(kind="discrete") or not pywt.Wavelet(name).orthogonal:
        raise InvalidInput(
            f"unknown wavelet filter '{name}'; choose an orthogonal one that PyWavelets lists, e.g. haar, db2, sym4"
        )
    wavelet = pywt.Wavelet(name)
    low = wavelet.dec_lo if name.startswith("sym") else wavelet.rec_lo
    # Haar is written out: PyWavelets' 1/sqrt(2)/sqrt(2) is one ulp off.
    scaling = (0.5, 0.5) if name == "haar" else tuple(float(tap) / np.sqrt(2.0) for tap in low)
    length = len(scaling)
    wavelet_taps = tuple((-1.0) ** lag * scaling[length - 1 - lag] for lag in range(length))
    return ModwtFilter(name, tuple(map(float, scaling)), tuple(map(float, wavelet_taps)))


def modwt(
    x: NDArray[np.float64], taps: ModwtFilter, levels: int
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Boundary-free MODWT coefficients of the last axis.

    Nothing is padded: at level j the first ``taps.boundary(j)`` coefficients, which would need
    samples before the series, are left out, so the last coefficient of every array belongs to
    the last sample and depends on it and earlier ones only.

    Parameters
    ----------
    x
        float64 (..., T).
    taps
        Filter pair.
    levels
        J, with ``taps.boundary(J) < T``.

    Returns
    -------
    wavelet
        J arrays; W_j is float64 (..., T - boundary(j)).
    scaling
        V_J, float64 (..., T - boundary(J)).

    Raises
    ------
    InvalidInput
        If the filter at that level is wider than the series.
    """
    if taps.boundary(levels) >= x.shape[-1]:
        raise InvalidInput(
            f"filter '{taps.name}' with {levels} levels is {taps.boundary(levels) + 1} samples wide; "
            f"the series has {x.shape[-1]}"
        )
    wavelet: list[NDArray[np.float64]] = []
    scaling = x
    for level in range(levels):
        step = 1 << level
        size = scaling.shape[-1] - step * (len(taps.scaling) - 1)
        if taps.name == "haar":  # the same numbers as below in half the operations: halving is exact
            half = 0.5 * scaling
            now, before = half[..., step:], half[..., :size]
            detail, smooth = now - before, now + before
        else:
            lagged = [scaling[..., step * lag :][..., :size] for lag in reversed(range(len(taps.scaling)))]
            detail, smooth = _filter(lagged, taps.wavelet), _filter(lagged, taps.scaling)
        wavelet.append(detail)
        scaling = smooth
    return wavelet, scaling


def _filter(lagged: list[NDArray[np.float64]], taps: tuple[float, ...]) -> NDArray[np.float64]:
    """Weighted sum of the lagged series, lag 0 first: a fixed order, whatever the shapes."""
    out = taps[0] * lagged[0]
    for tap, series in zip(taps[1:], lagged[1:], strict=True):
        out += tap * series
    return out

"""Losses of variance forecasts.

QLIKE and squared error rank forecasts alike whether the variance is observed or an unbiased
noisy proxy of it is: Patton (2011), doi:10.1016/j.jeconom.2010.03.034.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MeanLoss:
    """Mean over the ``scored`` elements; ``skipped`` had no usable realised value."""

    mean: float
    scored: int
    skipped: int


def has_realised(realised: Floats) -> NDArray[np.bool_]:
    """Which elements are scored: realised known and not 0 (a bar without range says nothing)."""
    return np.asarray(np.isfinite(realised) & (realised != 0.0))


def qlike(realised: Floats, variance: Floats) -> Floats:
    """y/f - ln(y/f) - 1, elementwise, any shape; NaN where the element is skipped.

    Raises
    ------
    InvalidInput
        If a forecast is not a finite number > 0 or a realised value is negative.
    """
    ratio = _scored_ratio(realised, variance)
    return np.asarray(ratio - np.log(ratio) - 1.0)


def squared_error(realised: Floats, variance: Floats) -> Floats:
    """(y - f)², elementwise; NaN where the element is skipped. Raises as `qlike`."""
    _scored_ratio(realised, variance)
    return np.where(has_realised(realised), (realised - variance) ** 2, np.nan)


def mean_loss(losses: Floats) -> MeanLoss:
    """Mean of elementwise losses, counting the skipped ones; NaN if all are."""
    scored = np.isfinite(losses)
    n = int(scored.sum())
    return MeanLoss(float(losses[scored].mean()) if n else float("nan"), n, losses.size - n)


def log_r2(realised: Floats, variance: Floats) -> float:
    """R² of ln(variance) against the mean of ln(realised), over the scored elements; can be negative."""
    error = np.log(_scored_ratio(realised, variance))
    scored = np.isfinite(error)
    y = np.log(realised[scored])
    return float(1.0 - (error[scored] ** 2).sum() / ((y - y.mean()) ** 2).sum())


def _scored_ratio(realised: Floats, variance: Floats) -> Floats:
    if realised.shape != variance.shape:
        raise InvalidInput(f"realised has shape {realised.shape} and variance {variance.shape}; they must be equal")
    bad = ~(np.isfinite(variance) & (variance > 0.0))
    if bad.any():
        raise InvalidInput(
            f"variance forecast {int(np.argmax(bad))} is {variance.flat[np.argmax(bad)]:g}; it must be > 0"
        )
    if (realised < 0.0).any():
        at = int(np.argmax(realised < 0.0))
        raise InvalidInput(f"realised variance {at} is {realised.flat[at]:g}; it must be >= 0")
    return np.where(has_realised(realised), realised, np.nan) / variance

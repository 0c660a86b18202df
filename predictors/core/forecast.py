"""What comes out: a variance forecast with its quantiles and its provenance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecasts of B windows for H horizons.

    Attributes
    ----------
    variance
        float64 (B, H): mean variance per bar over t+1..t+h, not annualised.
    log_variance
        float64 (B, H): weighted mean of the members' log-variances, before smearing.
    quantiles
        float64 (B, H, Q) of that variance, ascending in Q.
    members
        Weight of each member that took part, summing to 1.
    release
        Identifier of the release that made it.
    degraded
        True where at least one member of the release is missing.
    """

    variance: NDArray[np.float64]
    log_variance: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    members: dict[str, float]
    release: str
    degraded: bool

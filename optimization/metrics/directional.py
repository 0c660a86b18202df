"""Does a return forecast know the sign, or beat a constant? The scores of the return control.

References
----------
Pesaran & Timmermann (1992), doi:10.1080/07350015.1992.10509922; out-of-sample R²: Campbell &
Thompson (2008), doi:10.1093/rfs/hhm055.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from predictors.core.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Directional:
    """Accuracy of signs; up means > 0.

    Attributes
    ----------
    accuracy
        Share of signs forecast rightly.
    always_up
        Share that the constant forecast "up" gets right.
    statistic
        Pesaran-Timmermann, standard normal where forecast and outcome are independent; NaN
        where either never changes sign, since then there is nothing to test.
    p_greater
        One-sided p-value of "better than independent"; NaN likewise.
    n
        Returns scored.
    """

    accuracy: float
    always_up: float
    statistic: float
    p_greater: float
    n: int


def directional_accuracy(realised: Floats, forecast: Floats) -> Directional:
    """Pesaran-Timmermann test of forecasts (n,) of returns (n,); pairs with a NaN are left out.

    Raises
    ------
    InvalidInput
        If no pair is known.
    """
    up, said_up = _known(realised, forecast) > 0.0
    n = up.size
    p_up, p_said = float(up.mean()), float(said_up.mean())
    accuracy = float((up == said_up).mean())
    by_chance = p_up * p_said + (1.0 - p_up) * (1.0 - p_said)
    # Their difference of two variances, multiplied out: exact, and never negative by rounding.
    spread = 4.0 * p_up * (1.0 - p_up) * p_said * (1.0 - p_said) / n
    statistic = p_greater = math.nan
    if spread > 0.0:
        statistic = (accuracy - by_chance) / math.sqrt(spread)
        p_greater = float(norm.sf(statistic))
    return Directional(accuracy, p_up, statistic, p_greater, n)


def r2_against(realised: Floats, forecast: Floats, benchmark: Floats) -> float:
    """1 - Σ(y - f)² / Σ(y - b)², over the rows known in all three; > 0 beats the benchmark.

    ``benchmark`` is what was known at each origin, the expanding mean for example.
    """
    y, f, b = _known(realised, forecast, benchmark)
    return float(1.0 - ((y - f) ** 2).sum() / ((y - b) ** 2).sum())


def _known(*series: Floats) -> Floats:
    stacked = np.vstack(series)
    known = stacked[:, np.isfinite(stacked).all(axis=0)]
    if not known.size:
        raise InvalidInput(f"none of {stacked.shape[1]} return forecasts has a known outcome; nothing can be scored")
    return known

"""Scores of interval and quantile forecasts of the variance.

Elements without a usable realised value are skipped, as in `losses`.

References
----------
Gneiting & Raftery (2007), doi:10.1198/016214506000001437 (pinball and interval score);
Winkler (1972), doi:10.1080/01621459.1972.10481224.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.metrics.losses import has_realised
from predictors.core.errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of realised values inside their interval.

    Attributes
    ----------
    overall
        In [0, 1]; ``scored`` values, ``skipped`` left out.
    by_year
        Calendar year (UTC, of the origin) -> (share, values).
    worst_year
        The year with the lowest share, the earliest of equals.
    """

    overall: float
    scored: int
    skipped: int
    by_year: dict[int, tuple[float, int]]
    worst_year: int


def coverage(realised: Floats, low: Floats, high: Floats, timestamps: NDArray[np.int64]) -> Coverage:
    """Coverage of [low, high], overall and by calendar year.

    Parameters
    ----------
    realised, low, high
        float64 (n,).
    timestamps
        int64 (n,), origins in nanoseconds since the epoch, UTC.

    Raises
    ------
    InvalidInput
        If no realised value can be scored.
    """
    scored = has_realised(realised)
    if not scored.any():
        raise InvalidInput(f"none of {realised.size} realised values is known and > 0; coverage needs at least one")
    inside = ((low <= realised) & (realised <= high))[scored]
    year = timestamps[scored].astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970
    by_year = {int(y): (float(inside[year == y].mean()), int((year == y).sum())) for y in np.unique(year)}
    worst = min(by_year, key=lambda y: by_year[y][0])
    return Coverage(float(inside.mean()), inside.size, realised.size - inside.size, by_year, worst)


def pinball(realised: Floats, quantiles: Floats, levels: Floats) -> Floats:
    """Pinball loss (n, Q) of quantile forecasts (n, Q) at ``levels`` (Q,) in (0, 1); NaN where skipped.

    max(q (y - f), (q - 1) (y - f)), in the unit of the forecast.
    """
    error = np.where(has_realised(realised), realised, np.nan)[:, None] - quantiles
    return np.asarray(np.maximum(levels * error, (levels - 1.0) * error))


def winkler(realised: Floats, low: Floats, high: Floats, miss_rate: float) -> Floats:
    """Winkler's interval score (n,): width plus 2 / miss_rate times the distance of a miss; NaN where skipped.

    ``miss_rate`` is 1 - nominal coverage, 0.1 for a 90 % interval.
    """
    y = np.where(has_realised(realised), realised, np.nan)
    miss = np.maximum(low - y, 0.0) + np.maximum(y - high, 0.0)
    return np.asarray(high - low + 2.0 / miss_rate * miss)

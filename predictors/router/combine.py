"""From the members' log-variances to one forecast: weighted log-mean, smearing, interval offsets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from predictors.core.artifact import ReleaseManifest
from predictors.core.forecast import Forecast


def combine(answers: Mapping[str, NDArray[np.float64]], release: ReleaseManifest) -> Forecast:
    """Combine the members that answered.

    Parameters
    ----------
    answers
        By member kind, float64 (B, H) log-variances; at least one, all of them in the release.
    release
        Weights, smearing and interval offsets for every subset of members.

    Returns
    -------
    Forecast
        With the calibration of exactly this subset; ``degraded`` if a member is missing.
    """
    calibration = release.calibration(answers)
    log_variance = log_mean(answers, calibration.weights)
    return Forecast(
        variance=np.exp(log_variance) * np.array(calibration.smearing),
        log_variance=log_variance,
        quantiles=np.exp(log_variance[:, :, None] + np.array(calibration.offsets)),
        members=dict(sorted(calibration.weights.items())),
        release=release.release,
        degraded=len(answers) < len(release.members),
    )


def log_mean(answers: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]) -> NDArray[np.float64]:
    """Weighted mean of log-variances (B, H), added in the order of the member names."""
    total: NDArray[np.float64] | None = None
    for kind in sorted(answers):
        term = weights[kind] * answers[kind]
        total = term if total is None else total + term
    if total is None:
        raise ValueError("no member answered")
    return total

"""What every forecast must satisfy, whoever made it and however it travelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import WavecastError

# Weights are sent with six digits.
_WEIGHTS_TOLERANCE = 1e-4


def check_forecast(tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Any], windows: int) -> None:
    """Refuse an answer that nobody should act on.

    Parameters
    ----------
    tensors, parameters
        Of the response.
    windows
        How many were asked for.

    Raises
    ------
    WavecastError
        Naming the first rule that is broken: tensors and parameters are there, shapes match, all is
        finite, variances are positive, quantiles ascend, the members' weights are positive and sum to 1.
    """
    absent = [
        name for name in ("horizons", "quantile_levels", "members", "release", "degraded") if name not in parameters
    ]
    absent += [name for name in ("variance", "log_variance", "quantiles") if name not in tensors]
    if absent:
        raise WavecastError(f"the answer has no '{absent[0]}'")
    horizons, levels = (len(str(parameters[name]).split(",")) for name in ("horizons", "quantile_levels"))
    for name, expected in (
        ("variance", (windows, horizons)),
        ("log_variance", (windows, horizons)),
        ("quantiles", (windows, horizons, levels)),
    ):
        if tensors[name].shape != expected:
            raise WavecastError(f"'{name}' has shape {list(tensors[name].shape)}; expected {list(expected)}")
        if not np.isfinite(tensors[name]).all():
            raise WavecastError(f"'{name}' holds a NaN or an infinity; expected finite numbers")
    for name in ("variance", "quantiles"):
        if tensors[name].min() <= 0:
            raise WavecastError(f"'{name}' holds {tensors[name].min():g}; expected > 0")
    if (np.diff(tensors["quantiles"], axis=2) < 0).any():
        raise WavecastError("'quantiles' descend; expected them to ascend with their level")
    weights = member_weights(parameters)
    if min(weights.values()) <= 0 or abs(sum(weights.values()) - 1) > _WEIGHTS_TOLERANCE:
        raise WavecastError(f"the members' weights are {parameters['members']}; expected them > 0 with the sum 1")
    if not isinstance(parameters["degraded"], bool):
        raise WavecastError(f"'degraded' is {parameters['degraded']!r}; expected true or false")


def member_weights(parameters: Mapping[str, Any]) -> dict[str, float]:
    """Weights of the members that made a forecast, by kind.

    Raises
    ------
    WavecastError
        If the parameter ``members`` is not ``kind:weight,...``.
    """
    try:
        pairs = [entry.split(":") for entry in str(parameters["members"]).split(",")]
        return {kind: float(weight) for kind, weight in pairs}
    except ValueError as wrong:
        raise WavecastError(f"'members' is {parameters['members']!r}; expected kind:weight,...") from wrong

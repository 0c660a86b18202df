"""The linear wavelet-leverage backbone: what every member is built on.

The log-mean of three linear forecasts of the log-variance, each kept to the range of its training
targets: a leverage-HAR on standardised returns, a ridge on the wavelet and leverage groups, and a
more strongly shrunk ridge on all groups. Level columns are penalised a hundredth as much as the
rest: persistence is known, everything else must earn its weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.wavelet.spec import FeatureSpec

CLIP = 8.0
"""Standardised columns are kept within this many training standard deviations."""

_LEVEL_PENALTY = 0.001
_COMPONENTS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("level", "downside"), 0.001),
    (("level", "haar", "leverage", "downside", "return_haar", "energy"), 0.1),
    (
        ("level", "haar", "leverage", "downside", "return_haar", "energy", "activity", "volume", "dispersion", "echo"),
        0.5,
    ),
)


@dataclass(frozen=True, slots=True)
class Backbone:
    """K linear components for H horizons over F columns.

    Attributes
    ----------
    mean, scale
        float64 (F,): standardisation of the tabular columns.
    coefficients
        float64 (F, K, H), zero for columns that a component does not read.
    intercept, lowest, highest
        float64 (K, H): and the range of the training targets.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    intercept: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]

    def log_variance(self, tabular: NDArray[np.float32]) -> NDArray[np.float64]:
        """Forecast float64 (B, H) of tabular rows (B, F)."""
        z = np.clip((tabular.astype(np.float64) - self.mean) / self.scale, -CLIP, CLIP)
        parts = np.einsum("bf,fkh->bkh", z, self.coefficients, optimize=True) + self.intercept
        return np.asarray(np.clip(parts, self.lowest, self.highest).mean(axis=1))


def fit_backbone(
    tabular: NDArray[np.float32],
    log_target: NDArray[np.float64],
    spec: FeatureSpec,
    without: tuple[str, ...] = (),
) -> Backbone:
    """Fit on matured rows only.

    Parameters
    ----------
    tabular
        float32 (N, F).
    log_target
        float64 (N, H); NaN where a horizon has not matured.
    spec
        Names the columns.
    without
        Feature groups left out, for ablations.
    """
    x = np.ascontiguousarray(tabular, np.float64)
    mean = x.mean(axis=0)
    spread = x.std(axis=0)
    scale = np.where(spread > 1e-9 * (1.0 + np.abs(mean)), spread, 1.0)
    z = np.clip((x - mean) / scale, -CLIP, CLIP)
    shape = (len(_COMPONENTS), log_target.shape[1])
    coefficients = np.zeros((x.shape[1], *shape))
    intercept, lowest, highest = np.empty(shape), np.empty(shape), np.empty(shape)
    for h in range(shape[1]):
        known = np.isfinite(log_target[:, h])
        y = log_target[known, h]
        zh = z[known]
        for k, (groups, penalty) in enumerate(_COMPONENTS):
            columns = np.array(spec.columns_of(*(g for g in groups if g not in without)))
            levels = np.isin(columns, spec.columns_of("level"))
            weights, constant = _ridge(zh[:, columns], y, np.where(levels, _LEVEL_PENALTY, penalty))
            coefficients[columns, k, h] = weights
            intercept[k, h] = constant
            lowest[k, h], highest[k, h] = y.min(), y.max()
    return Backbone(mean, scale, coefficients, intercept, lowest, highest)


def _ridge(
    z: NDArray[np.float64], y: NDArray[np.float64], penalty: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Ridge with one penalty a column (per row), and an unpenalised intercept."""
    centre, middle = z.mean(axis=0), y.mean()
    zc = z - centre
    gram = zc.T @ zc / len(y)
    gram[np.diag_indices_from(gram)] += penalty
    weights = np.linalg.solve(gram, zc.T @ (y - middle) / len(y))
    return weights, float(middle - centre @ weights)

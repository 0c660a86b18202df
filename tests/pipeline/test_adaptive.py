"""Adaptive intervals: causal, ascending, and with the coverage that they promise in the long run."""

from __future__ import annotations

import numpy as np
import pytest

from optimization.adaptive import adaptive_quantiles
from optimization.ensemble import QUANTILE_LEVELS


def _world(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    forecast = random.normal(-9.0, 1.0, n)
    scale = np.where(np.arange(n) < n // 2, 0.3, 0.9)  # errors treble half-way: a static interval would fail
    return forecast, forecast + scale * random.standard_t(5, n)


@pytest.mark.parametrize("horizon", [1, 5])
def test_every_level_is_hit_as_often_as_it_says_in_spite_of_a_break(horizon: int) -> None:
    forecast, target = _world(4000)
    quantiles = adaptive_quantiles(forecast, target, horizon)
    made = np.isfinite(quantiles[:, 0])
    for i, level in enumerate(QUANTILE_LEVELS):
        assert np.mean(target[made] <= quantiles[made, i]) == pytest.approx(level, abs=0.02)


def test_quantiles_ascend() -> None:
    quantiles = adaptive_quantiles(*_world(1500), 5)
    assert (np.diff(quantiles[np.isfinite(quantiles[:, 0])], axis=1) >= 0).all()


@pytest.mark.parametrize("horizon", [1, 5])
def test_an_error_counts_only_once_it_has_matured(horizon: int) -> None:
    """Targets that mature after t never change the quantiles at t, bitwise."""
    forecast, target = _world(600)
    whole = adaptive_quantiles(forecast, target, horizon)
    for t in (150, 400):
        changed = target.copy()
        changed[t - horizon + 1 :] = 5.0
        np.testing.assert_array_equal(adaptive_quantiles(forecast, changed, horizon)[: t + 1], whole[: t + 1])
        assert (adaptive_quantiles(forecast, changed, horizon)[t + 1 :] != whole[t + 1 :]).any()
        np.testing.assert_array_equal(adaptive_quantiles(forecast[: t + 1], target[: t + 1], horizon), whole[: t + 1])


def test_gaps_in_forecasts_and_targets_are_stepped_over() -> None:
    forecast, target = _world(600)
    forecast[100:120], target[300:320] = np.nan, np.nan
    quantiles = adaptive_quantiles(forecast, target, 1)
    assert np.isnan(quantiles[100:120]).all()
    assert np.isfinite(quantiles[121:]).all()

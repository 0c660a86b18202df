"""Weights, smearing and offsets: what they must be whatever the forecasts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimization.ensemble import MIN_FORECASTS, QUANTILE_LEVELS, calibrate, member_weights, smearing_factor
from predictors.core.artifact import subset_key, subsets

KINDS = ("lstm", "transformer", "xgboost")


def _world(seed: int, n: int = 800, noise: tuple[float, ...] = (0.1, 0.2, 0.4)) -> tuple[dict, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.normal(-9.0, 1.0, (n, 2))
    forecasts = {kind: truth + random.normal(0.0, sd, (n, 2)) for kind, sd in zip(KINDS, noise, strict=True)}
    return forecasts, truth + random.normal(0.0, 0.5, (n, 2))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 400))
def test_weights_are_convex_and_every_subset_is_calibrated(seed: int, n: int) -> None:
    forecasts, target = _world(seed, n)
    calibrations = calibrate(forecasts, target)
    assert set(calibrations) == {subset_key(kinds) for kinds in subsets(KINDS)}
    for calibration in calibrations.values():
        assert sum(calibration.weights.values()) == pytest.approx(1.0)
        assert min(calibration.weights.values()) >= 0.0
        assert min(calibration.smearing) >= 1.0  # Jensen
        for row in calibration.offsets:
            assert list(row) == sorted(row)
            assert len(row) == len(QUANTILE_LEVELS)


def test_a_better_member_weighs_more_and_no_member_less_than_half_its_equal_share() -> None:
    weights = member_weights(*_world(3))
    assert weights["lstm"] > weights["transformer"] > weights["xgboost"] >= 1 / 6


def test_weights_do_not_depend_on_the_order_of_the_members() -> None:
    forecasts, target = _world(4)
    turned = {kind: forecasts[kind] for kind in reversed(KINDS)}
    assert member_weights(forecasts, target) == member_weights(turned, target)


def test_too_few_matured_forecasts_leave_the_weights_equal() -> None:
    forecasts, target = _world(5)
    target[MIN_FORECASTS - 1 :] = np.nan
    assert set(member_weights(forecasts, target).values()) == {1 / 3}


def test_unknown_targets_change_nothing() -> None:
    forecasts, target = _world(6)
    longer = {kind: np.vstack([values, values[:50]]) for kind, values in forecasts.items()}
    padded = np.vstack([target, np.full((50, 2), np.nan)])
    assert calibrate(forecasts, target) == calibrate(longer, padded)


@given(st.floats(-2, 2))
def test_smearing_measures_dispersion_and_not_the_mean_error(bias: float) -> None:
    errors = np.array([-1.0, 0.0, 1.0, np.nan])
    assert smearing_factor(errors + bias) == pytest.approx(np.mean(np.exp([-1.0, 0.0, 1.0])))


def test_offsets_cover_the_errors_that_they_come_from() -> None:
    forecasts, target = _world(7)
    calibration = calibrate(forecasts, target)[subset_key(KINDS)]
    error = target[-500:] - sum(calibration.weights[kind] * forecasts[kind][-500:] for kind in KINDS)
    for h in range(2):
        for level, offset in zip(QUANTILE_LEVELS, calibration.offsets[h], strict=True):
            assert np.mean(error[:, h] <= offset) == pytest.approx(level, abs=0.005)

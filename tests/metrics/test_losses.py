"""Losses from their definitions; what cannot be scored is skipped and counted, never guessed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimization.metrics.losses import log_r2, mean_loss, qlike, squared_error
from predictors.core.errors import InvalidInput

POSITIVE = st.floats(1e-12, 1e3)


@settings(deadline=None)
@given(y=POSITIVE, f=POSITIVE, unit=st.floats(1e-6, 1e6))
def test_qlike_is_zero_at_the_truth_positive_elsewhere_and_free_of_units(y: float, f: float, unit: float) -> None:
    loss = float(qlike(np.array([y]), np.array([f]))[0])
    assert loss == pytest.approx(y / f - math.log(y / f) - 1.0, rel=1e-9, abs=1e-12)
    assert loss >= -1e-15
    assert float(qlike(np.array([unit * y]), np.array([unit * f]))[0]) == pytest.approx(loss, rel=1e-6, abs=1e-9)
    assert float(qlike(np.array([y]), np.array([y]))[0]) == 0.0


def test_qlike_punishes_too_low_more_than_too_high() -> None:
    low, high = qlike(np.array([1.0, 1.0]), np.array([0.5, 2.0]))
    assert low > high


def test_zero_and_unknown_realised_values_are_skipped_and_counted() -> None:
    realised = np.array([2.0, 0.0, np.nan, 1.0])
    variance = np.array([1.0, 1.0, 1.0, 1.0])
    for loss, expected in ((qlike, (1.0 - math.log(2.0)) / 2), (squared_error, 0.5)):
        scored = mean_loss(loss(realised, variance))
        assert (scored.scored, scored.skipped) == (2, 2)
        assert scored.mean == pytest.approx(expected)
    assert math.isnan(mean_loss(np.array([np.nan])).mean)


def test_log_r2_is_one_at_the_truth_and_zero_at_the_mean_of_logs() -> None:
    y = np.array([1.0, 2.0, 0.0, 4.0, np.nan, 8.0])
    assert log_r2(y, np.where(y > 0.0, y, 1.0)) == 1.0
    geometric_mean = np.full(y.size, 64.0 ** (1 / 4))
    assert log_r2(y, geometric_mean) == pytest.approx(0.0, abs=1e-12)
    assert log_r2(y, 10.0 * geometric_mean) < 0.0


def test_a_forecast_that_is_not_a_positive_number_is_an_error_and_not_skipped() -> None:
    realised = np.array([1.0, np.nan])
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InvalidInput, match="variance forecast 1 is"):
            qlike(realised, np.array([1.0, bad]))
    with pytest.raises(InvalidInput, match="realised variance 0 is -1"):
        squared_error(-realised, np.ones(2))
    with pytest.raises(InvalidInput, match="shape"):
        qlike(realised, np.ones(3))

"""The scores of the return control, against statsmodels where it has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.diagnostic import pesaran_timmermann

from optimization.metrics.directional import directional_accuracy, r2_against
from predictors.core.errors import InvalidInput


@pytest.mark.parametrize("skill", [-0.5, 0.0, 0.1, 1.0])
def test_pesaran_timmermann_is_that_of_statsmodels(skill: float) -> None:
    rng = np.random.default_rng(9)
    y = 0.1 + rng.standard_normal(800)
    y[::50] = 0.0
    f = skill * y + rng.standard_normal(800)
    oracle = pesaran_timmermann(y, f, alternative="larger")
    result = directional_accuracy(y, f)
    assert result.statistic == pytest.approx(oracle.statistic, rel=1e-9)
    assert result.p_greater == pytest.approx(oracle.pvalue, rel=1e-9)
    assert result.accuracy == np.mean((y > 0) == (f > 0))
    assert result.always_up == np.mean(y > 0)
    assert result.n == 800


def test_a_forecast_that_never_changes_sign_has_nothing_to_test() -> None:
    result = directional_accuracy(np.array([1.0, -1.0, 2.0, np.nan]), np.full(4, 0.1))
    assert math.isnan(result.statistic)
    assert math.isnan(result.p_greater)
    assert result.accuracy == result.always_up == pytest.approx(2 / 3)
    assert result.n == 3


def test_r2_is_zero_for_the_benchmark_one_for_the_truth_and_negative_for_worse() -> None:
    rng = np.random.default_rng(1)
    y = rng.standard_normal(100)
    mean = np.full(100, 0.05)
    assert r2_against(y, mean, mean) == 0.0
    assert r2_against(y, y, mean) == 1.0
    assert r2_against(y, -y, mean) < 0.0
    halved = r2_against(np.append(y, np.nan), np.append(mean + (y - mean) / 2, 1.0), np.append(mean, 1.0))
    assert halved == pytest.approx(0.75)


def test_no_known_outcome_is_refused() -> None:
    with pytest.raises(InvalidInput, match="none of 2 return forecasts"):
        directional_accuracy(np.full(2, np.nan), np.ones(2))

"""Diebold-Mariano against R's forecast::dm.test and against a slow form of its definition."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from optimization.metrics.diebold_mariano import diebold_mariano, diebold_mariano_panel, holm
from predictors.core.errors import InvalidInput

with (Path(__file__).parent / "golden" / "dm_test.csv").open() as lines:
    GOLDEN = list(csv.DictReader(lines))


def losses(n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The losses of golden/dm_test.R."""
    i = np.arange(1, n + 1)
    a = 1 + np.sin(0.7 * i) ** 2 + (37 * i) % 11 / 11
    b = 1.1 + np.cos(0.31 * i) ** 2 + (53 * i) % 17 / 17
    return a, b


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"n={case['n']},h={case['horizon_bars']}")
def test_statistic_and_p_value_are_those_of_r(case: dict[str, str]) -> None:
    """Where h - 1 >= n^(1/3), R's Bartlett variance has the same lags as ours."""
    result = diebold_mariano(*losses(int(case["n"])), int(case["horizon_bars"]))
    assert result.t == pytest.approx(float(case["statistic"]), rel=1e-10)
    assert result.p_less == pytest.approx(float(case["p_less"]), rel=1e-8)


@pytest.mark.parametrize(("n", "h", "lags"), [(30, 1, 3), (125, 1, 5), (124, 5, 4), (126, 5, 5), (200, 22, 21)])
def test_statistic_is_that_of_the_definition(n: int, h: int, lags: int) -> None:
    a, b = losses(n)
    d = [float(x) for x in a - b]
    mean = sum(d) / n
    variance = 0.0
    for i in range(n):
        for j in range(n):
            variance += max(0.0, 1.0 - abs(i - j) / (lags + 1)) * (d[i] - mean) * (d[j] - mean) / n
    t = mean / math.sqrt(variance / n) * math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    result = diebold_mariano(a, b, h)
    assert result.t == pytest.approx(t, rel=1e-9)
    assert result.p_less == pytest.approx(student(n - 1).cdf(t), rel=1e-9)
    assert result.mean_difference == pytest.approx(mean)
    assert result.n == n


def test_negative_favours_the_first_and_swapping_changes_the_sign() -> None:
    a, b = losses(100)
    better = diebold_mariano(a - 1.0, b, 1)
    worse = diebold_mariano(b, a - 1.0, 1)
    assert better.t < -2.0
    assert better.p_less < 0.05
    assert worse.t == -better.t
    assert worse.p_less == pytest.approx(1.0 - better.p_less)


def test_the_test_holds_its_size() -> None:
    """Equal models are called different about as often as 5 % says, at h = 1 and with overlapping targets."""
    rng = np.random.default_rng(8)
    for h in (1, 5):
        noise = rng.standard_normal((2000, 500 + h - 1))
        d = sum(noise[:, k : k + 500] for k in range(h))
        share = np.mean([diebold_mariano(row, np.zeros(500), h).p_less < 0.05 for row in np.asarray(d)])
        assert 0.03 < share < 0.085


def test_pairs_with_a_skipped_loss_are_left_out() -> None:
    a, b = losses(60)
    result = diebold_mariano(np.insert(a, 30, np.nan), np.insert(b, 30, 1.0), 5)
    assert result == diebold_mariano(a, b, 5)


def test_losses_that_never_differ_give_zero_and_a_constant_difference_gives_infinity() -> None:
    a = np.ones(50)
    assert diebold_mariano(a, a, 1).t == 0.0
    assert diebold_mariano(a, a, 1).p_less == 0.5
    assert diebold_mariano(a, a + 1.0, 1).t == -math.inf


def test_a_panel_is_tested_on_its_mean_difference_per_timestamp() -> None:
    a, b = losses(120)
    shift = 0.3 * np.sin(np.arange(120.0))
    order = np.random.default_rng(0).permutation(240)
    loss_a = np.concatenate([a + shift, a - shift])[order]
    loss_b = np.concatenate([b, b])[order]
    stamps = np.tile(np.arange(120), 2)[order]
    panel = diebold_mariano_panel(loss_a, loss_b, stamps, 5)
    single = diebold_mariano(a, b, 5)
    assert panel.t == pytest.approx(single.t, rel=1e-9)
    assert panel.n == 120
    loss_a[order == 7] = np.nan  # its twin at the same timestamp still counts
    assert diebold_mariano_panel(loss_a, loss_b, stamps, 5).n == 120


def test_too_few_or_unequal_losses_are_refused() -> None:
    with pytest.raises(InvalidInput, match="5 loss differences are too few"):
        diebold_mariano(np.ones(5), np.zeros(5), 5)
    with pytest.raises(InvalidInput, match="cannot be compared"):
        diebold_mariano(np.ones(5), np.zeros(6), 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    named = {f"series {i}": p for i, p in enumerate(p_values)}
    adjusted = holm(named)
    assert list(adjusted) == list(named)
    np.testing.assert_allclose(list(adjusted.values()), multipletests(p_values, method="holm")[1], rtol=1e-12)

"""Targets look ahead exactly h bars, and their floor is known at the last of them."""

from __future__ import annotations

import numpy as np
import pytest

from optimization.targets import FLOOR_BARS, floored_proxy, log_variance_target, realised_variance


@pytest.fixture
def proxy() -> np.ndarray:
    return np.exp(np.random.default_rng(1).normal(-9.0, 1.0, 400))


@pytest.mark.parametrize("horizon", [1, 5])
def test_realised_variance_is_the_mean_of_the_next_bars(proxy: np.ndarray, horizon: int) -> None:
    realised = realised_variance(proxy, horizon)
    for t in (0, 7, 399 - horizon):
        assert realised[t] == pytest.approx(proxy[t + 1 : t + 1 + horizon].mean(), rel=1e-12)
    assert np.isnan(realised[-horizon:]).all()
    assert np.isfinite(realised[:-horizon]).all()


@pytest.mark.parametrize("horizon", [1, 5])
def test_target_is_the_log_of_floored_proxies_known_at_its_last_bar(proxy: np.ndarray, horizon: int) -> None:
    proxy[200] = 0.0
    target = log_variance_target(proxy, horizon)
    for t in (199, 200 - horizon, 300):
        last = t + horizon
        floor = 0.05 * np.median(proxy[last - FLOOR_BARS + 1 : last + 1])
        assert target[t] == pytest.approx(np.log(np.maximum(proxy[t + 1 : last + 1], floor).mean()), rel=1e-12)
    assert np.isfinite(target[FLOOR_BARS:-horizon]).all()


@pytest.mark.parametrize("horizon", [1, 5])
def test_what_follows_the_target_never_changes_it(proxy: np.ndarray, horizon: int) -> None:
    whole = log_variance_target(proxy, horizon)
    for end in (200, 301):
        cut = log_variance_target(proxy[:end].copy(), horizon)
        np.testing.assert_array_equal(cut[: end - horizon], whole[: end - horizon])
        assert np.isnan(cut[end - horizon :]).all()


def test_floor_is_unknown_for_the_first_bars_and_where_half_the_bars_have_no_range() -> None:
    proxy = np.ones(300)
    proxy[150:] = 0.0
    floored = floored_proxy(proxy)
    assert np.isnan(floored[: FLOOR_BARS - 1]).all()
    assert (floored[FLOOR_BARS - 1 : 150] == 1.0).all()
    assert np.isnan(floored[-1])


def test_too_short_a_series_has_no_target() -> None:
    assert np.isnan(log_variance_target(np.ones(100), 1)).all()

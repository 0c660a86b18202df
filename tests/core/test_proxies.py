"""Variance proxies against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput
from predictors.core.proxies import REALISED, close_returns, variance_proxy

BARS = np.array([[100.0, 104.0, 98.0, 101.0, 7.0, 2e-4], [103.0, 105.0, 102.0, 102.0, 8.0, 3e-4]])


def proxy(name: str, bars: NDArray[np.float64]) -> NDArray[np.float64]:
    return variance_proxy(name, bars, np.log(bars[..., :4]))


def test_proxies_are_their_formulas() -> None:
    o, h, low, c = BARS[1, :4]
    garman_klass = 0.5 * math.log(h / low) ** 2 - (2 * math.log(2) - 1) * math.log(c / o) ** 2
    np.testing.assert_allclose(proxy("garman_klass", BARS)[1], garman_klass, rtol=1e-12)
    np.testing.assert_allclose(proxy("parkinson", BARS)[1], math.log(h / low) ** 2 / (4 * math.log(2)), rtol=1e-12)
    np.testing.assert_allclose(proxy("squared_return", BARS)[1], math.log(102.0 / 101.0) ** 2, rtol=1e-12)
    assert proxy(REALISED, BARS).tolist() == [2e-4, 3e-4]


def test_the_first_return_is_close_over_open() -> None:
    """The close before the first bar is unknown."""
    expected = [math.log(101.0 / 100.0), math.log(102.0 / 101.0)]
    np.testing.assert_allclose(close_returns(np.log(BARS[:, :4])), expected, rtol=1e-12)


@given(st.tuples(*[st.floats(1e-8, 1e8)] * 4), st.sampled_from(["garman_klass", "parkinson", "squared_return"]))
def test_no_valid_bar_has_a_negative_variance(prices: tuple[float, ...], name: str) -> None:
    low, o, c, h = sorted(prices)
    assert proxy(name, np.array([[o, h, low, c, 0.0]])).item() >= 0.0


def test_an_unknown_proxy_is_refused_with_the_choices() -> None:
    with pytest.raises(InvalidInput, match="unknown variance proxy 'rv'; choose one of garman_klass, parkinson"):
        proxy("rv", BARS)

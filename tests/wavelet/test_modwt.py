"""The MODWT against R's waveslim, PyWavelets' stationary transform and its own algebra.

The goldens are written by ``golden/generate.R``. waveslim keeps about eight digits of its
filters, hence rtol 1e-6. Its transform is periodic; ours, which pads nothing, equals it at every
time once the series is repeated.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import pywt
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput
from predictors.wavelet.modwt import ModwtFilter, modwt, modwt_filter

GOLDEN = Path(__file__).parent / "golden"
LEVELS = 4
WAVESLIM = {"haar": "haar", "d4": "db2", "d8": "db4", "la8": "sym4", "la16": "sym8"}


def golden(name: str) -> NDArray[np.void]:
    return np.asarray(np.genfromtxt(GOLDEN / name, delimiter=",", names=True))


def assert_waveslim(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7 * np.abs(theirs).max())


@pytest.mark.parametrize(("theirs", "ours"), WAVESLIM.items())
def test_boundary_free_coefficients_of_ibm_are_those_of_waveslim(theirs: str, ours: str) -> None:
    table, taps = golden("ibm.csv"), modwt_filter(ours)
    wavelet, scaling = modwt(table["x"], taps, LEVELS)
    for level, detail in enumerate(wavelet, start=1):
        assert_waveslim(detail, table[f"{theirs}_d{level}"][taps.boundary(level) :])
    assert_waveslim(scaling, table[f"{theirs}_s{LEVELS}"][taps.boundary(LEVELS) :])


@pytest.mark.parametrize(("theirs", "ours"), [("haar", "haar"), ("la8", "sym4")])
def test_coefficients_of_the_percival_walden_series_are_those_of_waveslim(theirs: str, ours: str) -> None:
    table = golden("percival_walden.csv")
    wavelet, scaling = modwt(np.tile(table["x"], 3), modwt_filter(ours), 2)
    for level, detail in enumerate(wavelet, start=1):
        assert_waveslim(detail[-16:], table[f"{theirs}_d{level}"])
    assert_waveslim(scaling[-16:], table[f"{theirs}_s2"])


def test_the_order_of_the_taps_is_waveslims_and_matters() -> None:
    """The trap: PyWavelets' decomposition filter is right for sym4 and reversed for db2 and db4."""
    table = golden("ibm.csv")
    for theirs, ours in WAVESLIM.items():
        low = pywt.Wavelet(ours).dec_lo
        expected = low if theirs.startswith("la") else low[::-1]
        taps = modwt_filter(ours)
        np.testing.assert_allclose(taps.scaling, np.array(expected) / np.sqrt(2.0), rtol=1e-15)
        if ours != "haar":
            reverse = ModwtFilter(ours, taps.scaling[::-1], taps.wavelet[::-1])
            (detail,), _ = modwt(table["x"], reverse, 1)
            assert not np.allclose(np.abs(detail), np.abs(table[f"{theirs}_d1"][taps.boundary(1) :]), rtol=1e-2)


def test_unbiased_wavelet_variances_of_ibm_are_those_of_waveslim() -> None:
    table, x = golden("ibm_variance.csv"), golden("ibm.csv")["x"]
    for theirs, ours in WAVESLIM.items():
        wavelet, _ = modwt(x, modwt_filter(ours), LEVELS)
        assert_waveslim(np.array([np.mean(detail * detail) for detail in wavelet]), table[theirs])
    np.testing.assert_allclose(table["la8"], [1.516927e-4, 8.524775e-5, 3.916703e-5, 1.218928e-5], rtol=1e-6)
    np.testing.assert_allclose(table["haar"], [1.537257e-4, 8.075625e-5, 4.078503e-5, 1.641321e-5], rtol=1e-6)


def test_wavelet_correlations_of_two_exchange_rates_are_those_of_waveslim() -> None:
    rates, expected = golden("exchange.csv"), golden("exchange_correlation.csv")["la8"]
    dem, _ = modwt(rates["dem"], modwt_filter("sym4"), LEVELS)
    jpy, _ = modwt(rates["jpy"], modwt_filter("sym4"), LEVELS)
    ours = [np.sum(d * j) / np.sqrt(np.sum(d * d) * np.sum(j * j)) for d, j in zip(dem, jpy, strict=True)]
    assert_waveslim(np.array(ours), expected)
    np.testing.assert_allclose(expected, [0.60212, 0.57092, 0.65684, 0.38187], atol=5e-6)


@pytest.mark.parametrize("name", ["haar", "sym4"])
def test_the_stationary_transform_equals_ours_only_after_it_is_moved_out_of_the_future(name: str) -> None:
    """`pywt.swt` at t holds (L/2)(2^j - 1) later samples; details have the opposite sign."""
    x = golden("ibm.csv")["x"][:256]
    taps = modwt_filter(name)
    wavelet, scaling = modwt(np.tile(x, 4), taps, LEVELS)
    smooth, *details = pywt.swt(x, name, level=LEVELS, trim_approx=True, norm=True)
    for level, (ours, theirs) in enumerate(zip(wavelet, reversed(details), strict=True), start=1):
        ahead = len(taps.scaling) // 2 * (2**level - 1)
        np.testing.assert_allclose(ours[-256:], -np.roll(theirs, ahead), rtol=1e-6, atol=1e-12)
        assert not np.allclose(ours[-256:], -theirs, rtol=1e-2)
    np.testing.assert_allclose(scaling[-256:], np.roll(smooth, ahead), rtol=1e-6, atol=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=64, max_size=80), st.integers(1, 6))
def test_haar_details_and_smooth_add_up_to_the_series(values: list[float], levels: int) -> None:
    x = np.array(values)
    wavelet, scaling = modwt(x, modwt_filter("haar"), levels)
    total = scaling + sum(detail[-len(scaling) :] for detail in wavelet)
    np.testing.assert_allclose(total, x[-len(scaling) :], rtol=0, atol=1e-14 * max(1.0, np.abs(x).max()))


@pytest.mark.parametrize(("name", "levels"), [("haar", 6), ("db2", 4), ("sym4", 3)])
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 30))
def test_a_coefficient_is_the_same_bits_whatever_comes_later_and_in_whatever_batch(
    name: str, levels: int, seed: int, cut: int
) -> None:
    taps = modwt_filter(name)
    x = np.random.default_rng(seed).normal(size=(3, 128))
    every, smooth = modwt(x, taps, levels)
    past, past_smooth = modwt(np.ascontiguousarray(x[1, :-cut]), taps, levels)
    for whole, part in zip([*every, smooth], [*past, past_smooth], strict=True):
        assert whole[1, :-cut].tobytes() == part.tobytes()


@pytest.mark.parametrize("name", ["haar", "db2", "db4", "sym4", "coif1"])
def test_taps_are_an_orthonormal_pair(name: str) -> None:
    taps = modwt_filter(name)
    scaling, wavelet = np.array(taps.scaling), np.array(taps.wavelet)
    np.testing.assert_allclose([scaling.sum(), 2 * scaling @ scaling, 2 * wavelet @ wavelet], 1.0, rtol=1e-9)
    np.testing.assert_allclose([wavelet.sum(), scaling @ wavelet], 0.0, atol=1e-9)


def test_boundary_counts_are_those_of_waveslims_brick_wall() -> None:
    assert [modwt_filter("haar").boundary(level) for level in (1, 2, 3, 4)] == [1, 3, 7, 15]
    assert [modwt_filter("sym4").boundary(level) for level in (1, 2, 3, 4)] == [7, 21, 49, 105]


def test_a_filter_wider_than_the_series_is_refused() -> None:
    wavelet, scaling = modwt(np.ones(64), modwt_filter("haar"), 6)
    assert (len(wavelet), len(scaling)) == (6, 1)
    with pytest.raises(InvalidInput, match="'haar' with 6 levels is 64 samples wide; the series has 63"):
        modwt(np.ones(63), modwt_filter("haar"), 6)


@pytest.mark.parametrize("name", ["d4", "", "bior2.2", "morl"])
def test_a_filter_that_is_unknown_or_not_orthogonal_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(f"unknown wavelet filter '{name}'")):
        modwt_filter(name)

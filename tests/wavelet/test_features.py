"""The laws of the features: causal, the same bits however they are computed, finite, without units."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput
from predictors.core.features import FeatureBlock
from predictors.core.window import CLOSE, HIGH, LOW, OPEN, VOLUME, OhlcvWindow, check_windows
from predictors.wavelet.features import compute_features, series_features
from predictors.wavelet.incremental import FeatureStream
from predictors.wavelet.spec import FeatureSpec

Bars = NDArray[np.float64]

SPECS = [
    FeatureSpec(),
    FeatureSpec(proxy="parkinson", filter="db2", levels=4, window_bars=101, sequence_bars=48),
    FeatureSpec(proxy="squared_return", filter="sym4", levels=3),
    FeatureSpec(proxy="parkinson", levels=1, window_bars=66, sequence_bars=1),
    FeatureSpec(proxy="squared_return", groups=("haar", "energy", "echo")),
]
every_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.proxy}-{s.filter}-{s.levels}-{s.window_bars}")
seeds = st.integers(0, 2**32 - 1)


def random_bars(seed: int, count: int) -> Bars:
    """A random walk with flat bars, unchanged closes, volatility bursts and unknown volumes."""
    random = np.random.default_rng(seed)
    burst = np.exp(random.normal(0.0, 1.0, count))
    close = 100.0 * np.exp(np.cumsum(0.01 * burst * random.normal(size=count)))
    first = np.concatenate([[100.0], close[:-1]]) * np.exp(0.003 * random.normal(size=count))
    high = np.maximum(first, close) * np.exp(0.01 * burst * random.random(count))
    low = np.minimum(first, close) * np.exp(-0.01 * burst * random.random(count))
    bars = np.stack([first, high, low, close, random.integers(0, 10**6, count) * 1.0], axis=1)
    flat = random.random(count) < 0.1
    bars[flat, :4] = bars[flat, CLOSE, None]
    bars[random.random(count) < 0.1, VOLUME] = 0.0
    return bars


def real_bars(source: Bars, seed: int, count: int) -> Bars:
    start = np.random.default_rng(seed).integers(0, len(source) - count)
    return source[start : start + count]


def bits(block: FeatureBlock, rows: slice = slice(None)) -> tuple[bytes, ...]:
    return tuple(array[rows].tobytes() for array in (block.tabular, block.sequence, block.floored_bars))


# Causality ------------------------------------------------------------------------------------


@every_spec
@given(seed=seeds, future=st.integers(1, 100))
def test_later_bars_never_change_features_and_appending_never_changes_the_past(
    nasdaq_bars: Bars, spec: FeatureSpec, seed: int, future: int
) -> None:
    past = real_bars(nasdaq_bars, seed, spec.window_bars + 20)
    before = bits(series_features(past, spec))
    for later in (random_bars(seed, future), real_bars(nasdaq_bars, seed + 1, future)):
        extended = series_features(np.concatenate([past, later]), spec)
        assert bits(extended, slice(0, 21)) == before


@every_spec
def test_bars_before_the_window_never_change_features(sp500_bars: Bars, spec: FeatureSpec) -> None:
    alone = compute_features(sp500_bars[None, -spec.window_bars :], spec)
    assert bits(series_features(sp500_bars[-300:], spec), slice(-1, None)) == bits(alone)


# The same bits --------------------------------------------------------------------------------


@every_spec
@settings(max_examples=20)
@given(seed=seeds, size=st.integers(1, 40), restart=st.integers(0, 150))
def test_batches_single_windows_streams_and_restarted_streams_agree_bitwise(
    sp500_bars: Bars, spec: FeatureSpec, seed: int, size: int, restart: int
) -> None:
    bars = random_bars(seed, 170) if seed % 2 else real_bars(sp500_bars, seed, 170)
    count = len(bars) - spec.window_bars + 1
    windows = np.stack([bars[i : i + spec.window_bars] for i in range(count)])
    whole = bits(compute_features(windows, spec))

    assert bits(series_features(bars, spec)) == whole
    chunks = [compute_features(windows[i : i + size], spec) for i in range(0, count, size)]
    assert bits(_joined(chunks)) == whole
    assert bits(_joined([compute_features(window[None], spec) for window in windows])) == whole

    stream, answers = FeatureStream(spec), []
    for i, bar in enumerate(bars):
        if i == restart:
            stream = FeatureStream.restore(stream.snapshot(), spec)
        answers.append(stream.push(bar))
    assert all(answer is None for answer in answers[: spec.window_bars - 1])
    assert bits(_joined([answer for answer in answers if answer is not None])) == whole


@every_spec
def test_chunks_of_a_long_series_agree_with_single_windows_bitwise(nasdaq_bars: Bars, spec: FeatureSpec) -> None:
    whole = series_features(nasdaq_bars[:1000], spec)
    for row in (0, 255, 256, 511, 512, 1000 - spec.window_bars):
        alone = compute_features(nasdaq_bars[None, row : row + spec.window_bars], spec)
        assert bits(whole, slice(row, row + 1)) == bits(alone)


def _joined(blocks: list[FeatureBlock]) -> FeatureBlock:
    return FeatureBlock(
        np.concatenate([block.tabular for block in blocks]),
        np.concatenate([block.sequence for block in blocks]),
        blocks[0].spec_hash,
        np.concatenate([block.floored_bars for block in blocks]),
    )


# The numbers ----------------------------------------------------------------------------------


@given(seed=seeds)
def test_every_column_is_what_its_name_says(seed: int) -> None:
    """Against definitions written for one window, without NumPy's batch axes and running sums."""
    spec = FeatureSpec()
    bars = random_bars(seed, 128)
    o, h, low, c, volume = bars.T
    variance = 0.5 * np.log(h / low) ** 2 - (2 * math.log(2) - 1) * np.log(c / o) ** 2
    variance = np.maximum(variance, 0.05 * np.median(variance))
    returns = np.concatenate([[math.log(c[0] / o[0])], np.diff(np.log(c))])
    sigma = math.sqrt(variance[-22:].mean())
    z = np.clip(returns / sigma, -6, 6)

    def haar(x: Bars) -> list[float]:
        """W_j = (mean of the last half - mean of the half before) / 2, V_6 = mean of the last 64."""
        details = [(x[-(2**j) // 2 :].mean() - x[-(2**j) : -(2**j) // 2].mean()) / 2 for j in range(1, 7)]
        return [float(value) for value in [*details, x[-64:].mean()]]

    def log_volume(bars_back: int) -> float:
        mean, quarter = volume[-bars_back:].mean(), volume[-64:].mean()
        return float(np.clip(math.log(max(mean / quarter, 1e-12)), -3, 3))

    leverage = [returns[-k:].mean() / sigma for k in (1, 2, 5, 10, 22, 64)]
    ends = [haar(z[: 128 - back]) for back in range(64)]
    expected = {
        "level": [math.log(variance[-k:].mean()) for k in (1, 5, 22)],
        "haar": haar(np.log(variance)),
        "leverage": leverage,
        "downside": [min(value, 0.0) for value in leverage],
        "return_haar": haar(z),
        "energy": [math.log(np.mean([end[j] ** 2 for end in ends]) + 1e-6) for j in range(6)],
        "activity": [
            min(abs(returns[-1]) / sigma, 6.0),
            math.log((math.log(o[-1] / c[-2]) / sigma) ** 2 + 0.01),
            *(math.log((returns[-k:] ** 2).mean() / sigma**2 + 0.01) for k in (1, 5, 22)),
        ],
        "volume": [log_volume(k) for k in (1, 5, 22)],
        "dispersion": [np.log(variance[-k:]).std() for k in (22, 64)],
        "echo": [math.log(variance[-k - 3 : -k + 2].mean() / sigma**2) for k in (22, 44, 63)],
    }
    block = compute_features(bars[None], spec)
    for group, values in expected.items():
        ours = block.tabular[0, list(spec.columns_of(group))]
        np.testing.assert_allclose(ours, values, rtol=1e-5, atol=1e-6, err_msg=group)


@every_spec
def test_arrays_are_as_wide_as_the_names_and_the_sequence_ends_at_the_origin(
    nasdaq_bars: Bars, spec: FeatureSpec
) -> None:
    block = series_features(nasdaq_bars[:300], spec)
    rows = 301 - spec.window_bars
    assert block.tabular.shape == (rows, len(spec.columns))
    assert block.sequence.shape == (rows, spec.sequence_bars, len(spec.channels))
    assert {block.tabular.dtype, block.sequence.dtype} == {np.dtype(np.float32)}
    assert block.floored_bars.shape == (rows,)
    assert block.spec_hash == spec.hash
    shared = [name for name in spec.channels if name in spec.columns]
    assert len(shared) >= spec.levels + 1
    for name in shared:
        last = block.sequence[:, -1, spec.channels.index(name)]
        assert last.tobytes() == block.tabular[:, spec.columns.index(name)].tobytes()


@every_spec
@given(seed=seeds, price=st.floats(1e-3, 1e3), volume=st.floats(1e-3, 1e9))
def test_features_have_no_units(spec: FeatureSpec, seed: int, price: float, volume: float) -> None:
    bars = random_bars(seed, spec.window_bars)
    ours = compute_features(bars[None], spec)
    scaled = compute_features((bars * ([price] * 4 + [volume]))[None], spec)
    np.testing.assert_allclose(scaled.tabular, ours.tabular, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scaled.sequence, ours.sequence, rtol=1e-6, atol=1e-6)


# Poor bars ------------------------------------------------------------------------------------


@given(seed=seeds, flat=st.integers(0, 63))
def test_flat_bars_are_raised_to_a_twentieth_of_the_median_and_counted(nasdaq_bars: Bars, seed: int, flat: int) -> None:
    spec = FeatureSpec(proxy="parkinson")
    bars = real_bars(nasdaq_bars, seed, spec.window_bars).copy()
    chosen = np.random.default_rng(seed).permutation(spec.window_bars)[:flat]
    bars[chosen, :4] = bars[chosen, CLOSE, None]
    variance = np.log(bars[:, HIGH] / bars[:, LOW]) ** 2 / (4 * math.log(2))
    floor = 0.05 * np.median(variance)
    block = compute_features(bars[None], spec)
    assert block.floored_bars.tolist() == [np.sum(variance < floor)]
    assert block.floored_bars[0] >= flat
    values = block.sequence[0, :, spec.channels.index("log_variance_value")]
    np.testing.assert_allclose(values, np.log(np.maximum(variance, floor))[-64:], rtol=1e-6)


@pytest.mark.parametrize("proxy", ["garman_klass", "parkinson", "squared_return"])
def test_a_window_whose_median_variance_is_zero_is_refused_by_number(proxy: str) -> None:
    spec = FeatureSpec(proxy=proxy)
    bars = random_bars(3, 128)
    still = bars.copy()
    still[:90] = [100.0, 100.0, 100.0, 100.0, 1.0]
    rule = "the median {} variance of its 128 bars is 0; more than half of the bars need a price range"
    with pytest.raises(InvalidInput, match=re.escape("window 1: " + rule.format(proxy))):
        compute_features(np.stack([bars, still, still]), spec)


def test_in_a_series_the_window_is_numbered_from_the_first_of_the_series() -> None:
    bars = random_bars(3, 1000)
    bars[800:, :4] = bars[800, CLOSE]
    with pytest.raises(InvalidInput, match=r"window 7\d\d: the median garman_klass variance") as refusal:
        series_features(bars, FeatureSpec())
    first = int(re.findall(r"\d+", str(refusal.value))[0])
    series_features(bars[: first + 127], FeatureSpec())
    with pytest.raises(InvalidInput, match="window 0: "):
        compute_features(bars[None, first : first + 128], FeatureSpec())


def test_without_any_volume_the_volume_features_are_zero(nasdaq_bars: Bars) -> None:
    spec = FeatureSpec()
    bars = nasdaq_bars[:128].copy()
    known = compute_features(bars[None], spec)
    bars[:, VOLUME] = 0.0
    unknown = compute_features(bars[None], spec)
    volume = list(spec.columns_of("volume"))
    assert known.tabular[0, volume].all()
    assert not unknown.tabular[0, volume].any()
    others = [i for i in range(len(spec.columns)) if i not in volume]
    assert unknown.tabular[:, others].tobytes() == known.tabular[:, others].tobytes()
    assert unknown.sequence.tobytes() == known.sequence.tobytes()


@every_spec
@given(seed=seeds, volumes=st.sampled_from([0.0, 5e-324, 1e-300, 1.0, 1e300, 1.7e308]), price=st.floats(-308.0, 300.0))
def test_no_window_that_the_contract_accepts_gives_nan_or_infinity(
    spec: FeatureSpec, seed: int, volumes: float, price: float
) -> None:
    """Any prices from 1e-8 to 1e8 (or of any size at all), ranges of one ulp, gaps of any width, any volumes."""
    random = np.random.default_rng(seed)
    count = spec.window_bars
    centre = 10.0 ** (random.uniform(-8.0, 8.0, (count, 1)) if random.random() < 0.5 else np.full((count, 1), price))
    width = random.choice([0.0, 1e-16, 1e-8, 1e-3, 1.0, 5.0], (count, 1), p=[0.1, 0.3, 0.2, 0.2, 0.1, 0.1])
    low, one, two, high = np.sort(centre * np.exp(width * random.normal(size=(count, 4))), axis=1).T
    volume = volumes * random.choice([0.0, 1e-6, 1.0], count)
    bars = np.stack([one, high, low, two, volume], axis=1)
    bars[random.random(count) < 0.5] = bars[:, [CLOSE, HIGH, LOW, OPEN, VOLUME]][0]
    check_windows(OhlcvWindow(bars[None]), count)
    try:
        block = compute_features(bars[None], spec)
    except InvalidInput as refusal:
        assert "variance of its" in str(refusal)  # noqa: PT017 - either answer is lawful, NaN is not
        return
    assert np.isfinite(block.tabular).all()
    assert np.isfinite(block.sequence).all()


def test_too_few_bars_for_one_window_are_refused(nasdaq_bars: Bars) -> None:
    with pytest.raises(InvalidInput, match="127 bars are too few; one window needs 128"):
        series_features(nasdaq_bars[:127], FeatureSpec())

"""The leak canaries: each way in which features have looked ahead in published work is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import pywt
from numpy.typing import NDArray

from optimization.leak import Features, check_causal
from optimization.targets import log_variance_target
from predictors.core.errors import LeakError
from predictors.core.features import FeatureBlock
from predictors.core.proxies import variance_proxy
from predictors.core.window import CLOSE, VOLUME
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

Bars = NDArray[np.float64]
SPEC = FeatureSpec()
FIRST = SPEC.window_bars - 1
COLUMN = "echo_44"


def with_column(values: Callable[[Bars], Bars]) -> Features:
    """Our features, one column of which is ``values`` (N,) of the bars (N, 5)."""

    def features(bars: Bars, spec: FeatureSpec) -> FeatureBlock:
        block = series_features(bars, spec)
        tabular = block.tabular.copy()
        tabular[:, spec.columns.index(COLUMN)] = values(bars)[FIRST:]
        return replace(block, tabular=tabular)

    return features


def variance(bars: Bars) -> Bars:
    return variance_proxy(SPEC.proxy, bars, np.log(np.ascontiguousarray(bars[:, :4])))


def log_variance(bars: Bars) -> Bars:
    return np.log(variance(bars) + 1e-6)


def normalised_by_the_file(bars: Bars) -> Bars:
    x = log_variance(bars)
    return np.asarray((x - x.mean()) / x.std())


def clipped_at_a_quantile_of_the_file(bars: Bars) -> Bars:
    x = log_variance(bars)
    return np.minimum(x, np.quantile(x, 0.999))


def smooth_of_the_file(bars: Bars) -> Bars:
    """Multiresolution analysis: the level-4 smooth of the whole series."""
    details = pywt.wavedec(log_variance(bars), "sym4", level=4)
    smooth = pywt.waverec([details[0]] + [np.zeros_like(d) for d in details[1:]], "sym4")
    return np.asarray(smooth[: len(bars)])


def stationary_transform_at_t(bars: Bars) -> Bars:
    x = log_variance(bars)
    padded = np.concatenate([np.full(-len(x) % 16, x[0]), x])
    return np.asarray(pywt.swt(padded, "sym4", level=4, trim_approx=True, norm=True)[1][-len(x) :])


def centred_average(bars: Bars) -> Bars:
    return np.convolve(log_variance(bars), np.ones(3) / 3, mode="same")


def target(bars: Bars) -> Bars:
    return log_variance_target(variance(bars), 1)


def filled_from_the_next_bar(bars: Bars) -> Bars:
    """A repair of three poor bars in the whole file."""
    volume = bars[:, VOLUME].copy()
    poor = np.flatnonzero(volume == 1.0)
    volume[poor] = volume[np.minimum(poor + 1, len(volume) - 1)]
    return volume


def next_return_between(first: int, last: int) -> Callable[[Bars], Bars]:
    """Looks ahead at some bars of the file only, whose number it reads off their volume."""

    def values(bars: Bars) -> Bars:
        ahead = np.append(np.diff(np.log(bars[:, CLOSE])), 0.0)
        return np.where((bars[:, VOLUME] >= first) & (bars[:, VOLUME] <= last), ahead, 0.0)

    return values


def numbered(bars: Bars) -> Bars:
    return np.column_stack([bars[:, :4], np.arange(len(bars))])


LEAKS: list[tuple[Callable[[Bars], Bars], int]] = [
    (normalised_by_the_file, FIRST),
    (clipped_at_a_quantile_of_the_file, -1),
    (smooth_of_the_file, FIRST),
    (stationary_transform_at_t, FIRST),
    (centred_average, FIRST),
    (target, FIRST),
]


def test_our_own_features_pass_and_are_handed_on(nasdaq_bars: Bars) -> None:
    block = check_causal(series_features, nasdaq_bars[:1500], SPEC, seed=0)
    expected = series_features(nasdaq_bars[:1500], SPEC)
    assert block.tabular.tobytes() == expected.tabular.tobytes()
    assert block.sequence.tobytes() == expected.sequence.tobytes()


@pytest.mark.parametrize(("leak", "bar"), LEAKS, ids=lambda value: getattr(value, "__name__", None))
def test_a_column_that_looks_ahead_is_named_with_its_first_bar(
    nasdaq_bars: Bars, leak: Callable[[Bars], Bars], bar: int
) -> None:
    where = r"\d+" if bar < 0 else str(bar)
    message = f"feature '{COLUMN}' at bar {where} changes when later bars change: it looks ahead"
    with pytest.raises(LeakError, match=message):
        check_causal(with_column(leak), nasdaq_bars[:1500], SPEC, seed=0)


@pytest.mark.parametrize(("first", "last", "bar"), [(0, 130, 127), (2516, 2516, 2516), (5029, 5030, 5029)])
def test_a_look_ahead_at_a_few_bars_of_the_file_is_found(nasdaq_bars: Bars, first: int, last: int, bar: int) -> None:
    with pytest.raises(LeakError, match=f"feature '{COLUMN}' at bar {bar} changes when later bars change"):
        check_causal(with_column(next_return_between(first, last)), numbered(nasdaq_bars), SPEC, seed=0)


def test_a_repair_of_a_single_bar_from_the_next_one_is_found(nasdaq_bars: Bars) -> None:
    bars = nasdaq_bars[:3000].copy()
    bars[1234, VOLUME] = 1.0
    with pytest.raises(LeakError, match=f"feature '{COLUMN}' at bar 1234 "):
        check_causal(with_column(filled_from_the_next_bar), bars, SPEC, seed=0)


def test_a_look_ahead_that_sleeps_on_this_file_is_found(nasdaq_bars: Bars) -> None:
    """A flag of a crash to come, in a file without one: only bars that are not in the file wake it."""

    def crash_ahead(bars: Bars) -> Bars:
        return np.append(np.abs(np.diff(np.log(bars[:, CLOSE]))) > 0.2, False) * 1.0

    assert not crash_ahead(nasdaq_bars).any()
    with pytest.raises(LeakError, match=f"feature '{COLUMN}' at bar [0-9]+ changes when later bars change"):
        check_causal(with_column(crash_ahead), nasdaq_bars[:1500], SPEC, seed=0)


def test_a_sequence_that_looks_ahead_is_named_with_channel_and_step(nasdaq_bars: Bars) -> None:
    def features(bars: Bars, spec: FeatureSpec) -> FeatureBlock:
        block = series_features(bars, spec)
        sequence = block.sequence.copy()
        sequence[:-1, 63, 2] = sequence[1:, 63, 2]
        return replace(block, sequence=sequence)

    with pytest.raises(LeakError, match=r"feature 'log_variance_w3' \(sequence step 63\) at bar 127 "):
        check_causal(features, nasdaq_bars[:500], SPEC, seed=0)


def test_a_running_scale_is_causal_but_refused_because_a_server_cannot_compute_it(nasdaq_bars: Bars) -> None:
    def expanding_mean(bars: Bars) -> Bars:
        return np.cumsum(log_variance(bars)) / np.arange(1, len(bars) + 1)

    with pytest.raises(LeakError, match=f"'{COLUMN}' at bar 128 changes when bars before its window of 128 bars"):
        check_causal(with_column(expanding_mean), nasdaq_bars[:500], SPEC, seed=0)


def test_a_missing_row_is_refused(nasdaq_bars: Bars) -> None:
    def shifted(bars: Bars, spec: FeatureSpec) -> FeatureBlock:
        block = series_features(bars, spec)
        return replace(block, tabular=block.tabular[1:], sequence=block.sequence[1:])

    with pytest.raises(LeakError, match=r"shapes \(372, .* expected \(373, "):
        check_causal(shifted, nasdaq_bars[:500], SPEC, seed=0)


@pytest.mark.parametrize(("first", "last"), [(0, 200), (3000, 3100), (9900, 10000)])
def test_a_long_series_is_checked_at_both_ends_and_between(sp500_bars: Bars, first: int, last: int) -> None:
    bars = numbered(np.concatenate([sp500_bars, sp500_bars[:4970]]))
    with pytest.raises(LeakError, match=f"feature '{COLUMN}' at bar [0-9]+ changes when later bars change"):
        check_causal(with_column(next_return_between(first, last)), bars, SPEC, seed=0)

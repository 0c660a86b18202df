"""Windows are refused with the tensor, the index, the field, the value and the rule; or accepted."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput
from predictors.core.window import FIELDS, OhlcvWindow, check_windows

BARS = np.tile([10.0, 12.0, 9.0, 11.0, 500.0], (2, 4, 1))
TIMES = np.tile(np.arange(4), (2, 1))


def altered(*places: tuple[int, int, int, float]) -> NDArray[np.float64]:
    bars = BARS.copy()
    for b, t, field, value in places:
        bars[b, t, field] = value
    return bars


@pytest.mark.parametrize(
    ("bars", "message"),
    [
        (BARS[0], "tensor 'bars' has shape [4, 5]; expected [B, T, 5] = open, high, low, close, volume"),
        (BARS[..., :4], "tensor 'bars' has shape [2, 4, 4]; expected [B, T, 5]"),
        (BARS[:0], "tensor 'bars' holds no window; expected B >= 1"),
        (BARS[:, :2], "tensor 'bars' has 2 bars per window; at least 3 are needed"),
        (altered((1, 2, 0, np.nan)), "tensor 'bars' [1, 2] open = nan must be finite"),
        (altered((1, 2, 1, np.inf)), "tensor 'bars' [1, 2] high = inf must be finite"),
        (altered((0, 3, 4, np.nan)), "tensor 'bars' [0, 3] volume = nan must be finite"),
        (altered((0, 3, 4, np.inf)), "tensor 'bars' [0, 3] volume = inf must be finite"),
        (altered((0, 0, 2, 0.0)), "tensor 'bars' [0, 0] low = 0.0 must be > 0"),
        (altered((1, 1, 3, -11.0)), "tensor 'bars' [1, 1] close = -11.0 must be > 0"),
        (altered((1, 3, 2, 10.5)), "tensor 'bars' [1, 3] low = 10.5 must be <= open = 10.0 and close = 11.0"),
        (altered((1, 3, 3, 8.5)), "tensor 'bars' [1, 3] low = 9.0 must be <= open = 10.0 and close = 8.5"),
        (altered((0, 1, 1, 10.5)), "tensor 'bars' [0, 1] high = 10.5 must be >= open = 10.0 and close = 11.0"),
        (altered((0, 1, 0, 13.0)), "tensor 'bars' [0, 1] high = 12.0 must be >= open = 13.0 and close = 11.0"),
        (altered((1, 0, 4, -1.0)), "tensor 'bars' [1, 0] volume = -1.0 must be >= 0"),
        (altered((0, 1, 0, -1.0), (0, 3, 4, np.nan)), "tensor 'bars' [0, 1] open = -1.0 must be > 0"),
        (altered((0, 3, 2, 10.0000001)), "tensor 'bars' [0, 3] low = 10.0000001 must be <= open = 10.0"),
        (altered((0, 2, 4, -1.0), (1, 0, 4, -2.0)), "tensor 'bars' [0, 2] volume = -1.0 must be >= 0"),
    ],
)
def test_a_violation_is_named(bars: NDArray[np.float64], message: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        check_windows(OhlcvWindow(bars), 3)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (TIMES[:, :3], "tensor 'timestamps' has shape [2, 3]; expected [2, 4] to match 'bars'"),
        (TIMES * [[1], [0]], "tensor 'timestamps' [1, 1] = 0 does not come after 0; times must be strictly increasing"),
        (np.where([0, 1, 0, 0], 2**63 - 1, TIMES), "tensor 'timestamps' [0, 2] = 2 does not come after"),
        (TIMES[:, ::-1], "tensor 'timestamps' [0, 1] = 2 does not come after 3; times must be strictly increasing"),
    ],
)
def test_times_must_match_and_increase(times: NDArray[np.int64], message: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        check_windows(OhlcvWindow(BARS, times), 3)


def test_times_and_real_bars_are_accepted(nasdaq_bars: NDArray[np.float64], sp500_bars: NDArray[np.float64]) -> None:
    check_windows(OhlcvWindow(BARS, TIMES), 4)
    check_windows(OhlcvWindow(np.stack([nasdaq_bars, sp500_bars])), 128)


def test_a_bar_without_range_and_without_volume_is_accepted() -> None:
    check_windows(OhlcvWindow(np.tile([10.0, 10.0, 10.0, 10.0, 0.0], (1, 4, 1))), 4)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 3),
            st.integers(0, 4),
            st.sampled_from([np.nan, np.inf, -np.inf, -1.0, -0.0, 0.0, 1e-300, 9.0, 10.0, 11.0, 12.0, 1e300]),
        ),
        max_size=3,
    )
)
def test_windows_are_refused_if_and_only_if_a_bar_breaks_a_rule_and_such_a_bar_is_named(
    places: list[tuple[int, int, int, float]],
) -> None:
    bars = altered(*places)
    bad = {(b, t) for b in range(2) for t in range(4) if not _valid(*bars[b, t])}
    if not bad:
        check_windows(OhlcvWindow(bars), 4)
        return
    with pytest.raises(InvalidInput) as refusal:
        check_windows(OhlcvWindow(bars), 4)
    named = re.match(r"tensor 'bars' \[(\d), (\d)\] (\w+) = (\S+) must be ", str(refusal.value))
    assert named
    b, t = int(named[1]), int(named[2])
    assert (b, t) == min(bad)
    assert named[4] == repr(float(bars[b, t, FIELDS.index(named[3])]))


def _valid(o: float, h: float, low: float, c: float, v: float) -> bool:
    return bool(np.isfinite([o, h, low, c, v]).all()) and 0.0 < low <= o <= h and low <= c <= h and v >= 0.0


def test_the_last_bars_are_contiguous_with_their_times() -> None:
    last = OhlcvWindow(np.arange(40.0).reshape(2, 4, 5), TIMES).last(3)
    assert last.bars.flags.c_contiguous
    assert last.bars[:, 0, 0].tolist() == [5.0, 25.0]
    assert last.timestamps is not None
    assert last.timestamps.tolist() == [[1, 2, 3], [1, 2, 3]]

"""A batch of OHLCV windows, checked once at the edge and trusted afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput

FIELDS = ("open", "high", "low", "close", "volume")
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)


@dataclass(frozen=True, slots=True)
class OhlcvWindow:
    """B windows of T bars.

    Attributes
    ----------
    bars
        float64 (B, T, 5), C-contiguous: open, high, low, close in price units, volume in any
        unit (0 where unknown). The last bar is the forecast origin.
    timestamps
        int64 (B, T), nanoseconds since the epoch, UTC; ``None`` where unknown. Checked for
        order and age, never a feature.
    """

    bars: NDArray[np.float64]
    timestamps: NDArray[np.int64] | None = None

    def last(self, window_bars: int) -> OhlcvWindow:
        """The windows' last ``window_bars`` bars, as contiguous arrays."""
        bars = np.ascontiguousarray(self.bars[:, -window_bars:])
        stamps = self.timestamps
        return OhlcvWindow(bars, None if stamps is None else np.ascontiguousarray(stamps[:, -window_bars:]))


def check_windows(window: OhlcvWindow, window_bars: int) -> None:
    """Refuse windows that break the contract, naming the first offending element.

    Parameters
    ----------
    window
        Windows of any T.
    window_bars
        The shortest window allowed, in bars.

    Raises
    ------
    InvalidInput
        Naming the tensor, the index, the value and the rule.
    """
    bars = window.bars
    if bars.ndim != 3 or bars.shape[2] != len(FIELDS):
        raise InvalidInput(f"tensor 'bars' has shape {list(bars.shape)}; expected [B, T, 5] = {', '.join(FIELDS)}")
    if bars.shape[0] == 0:
        raise InvalidInput("tensor 'bars' holds no window; expected B >= 1")
    if bars.shape[1] < window_bars:
        raise InvalidInput(f"tensor 'bars' has {bars.shape[1]} bars per window; at least {window_bars} are needed")
    # One pass for the common case: every rule holds. Only a violation is located and named.
    prices = bars[..., :4]
    low, high = bars[..., LOW], bars[..., HIGH]
    good = (
        (prices.min(initial=np.inf) > 0.0)
        and bool(np.isfinite(bars).all())
        and bool((low <= np.minimum(bars[..., OPEN], bars[..., CLOSE])).all())
        and bool((high >= np.maximum(bars[..., OPEN], bars[..., CLOSE])).all())
        and bool((bars[..., VOLUME] >= 0.0).all())
    )
    if not good:
        _name_first_violation(bars)
    stamps = window.timestamps
    if stamps is not None:
        if stamps.shape != bars.shape[:2]:
            raise InvalidInput(
                f"tensor 'timestamps' has shape {list(stamps.shape)}; expected {list(bars.shape[:2])} to match 'bars'"
            )
        back = np.argwhere(stamps[:, 1:] <= stamps[:, :-1])
        if back.size:
            b, t = (int(i) for i in back[0])
            raise InvalidInput(
                f"tensor 'timestamps' [{b}, {t + 1}] = {int(stamps[b, t + 1])} does not come after "
                f"{int(stamps[b, t])}; times must be strictly increasing"
            )


def _name_first_violation(bars: NDArray[np.float64]) -> None:
    o, h, low, c, volume = (bars[..., i] for i in range(5))
    positive = np.zeros(bars.shape, bool)
    positive[..., :VOLUME] = bars[..., :VOLUME] <= 0.0
    rules = (
        (~np.isfinite(bars), "must be finite"),
        (positive, "must be > 0"),
        (_at(low > np.minimum(o, c), LOW, bars), "must be <= open = {open!r} and close = {close!r}"),
        (_at(h < np.maximum(o, c), HIGH, bars), "must be >= open = {open!r} and close = {close!r}"),
        (_at(volume < 0.0, VOLUME, bars), "must be >= 0"),
    )
    broken = np.stack([bad for bad, _ in rules])  # (rules, B, T, fields)
    b, t = (int(i) for i in np.argwhere(broken.any(axis=(0, 3)))[0])
    first_rule, f = (int(i) for i in np.argwhere(broken[:, b, t])[0])
    rule = rules[first_rule][1]
    prices = {name: float(bars[b, t, i]) for i, name in enumerate(FIELDS)}
    raise InvalidInput(f"tensor 'bars' [{b}, {t}] {FIELDS[f]} = {prices[FIELDS[f]]!r} {rule.format(**prices)}")


def _at(mask: NDArray[np.bool_], field: int, bars: NDArray[np.float64]) -> NDArray[np.bool_]:
    out = np.zeros(bars.shape, bool)
    out[..., field] = mask
    return out

"""The rules that every bar keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.data.bars import time_text
from optimization.data.columns import REALISED, TIMESTAMP
from predictors.core.window import FIELDS


@dataclass(frozen=True, slots=True)
class Violation:
    """The first row that breaks a rule: its index, the column at fault and the rule."""

    index: int
    column: str
    rule: str


def by_symbol(codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Row indices (N,) that bring the rows of each symbol together and keep their order."""
    return np.argsort(codes, kind="stable")


def first_violation(
    stamps: NDArray[np.int64],
    codes: NDArray[np.int32],
    bars: NDArray[np.float64],
    realised: NDArray[np.float64] | None,
) -> Violation | None:
    """First row, in file order, that breaks a rule; the rules are tried in the order below.

    Parameters
    ----------
    stamps
        int64 (N,): nanoseconds, UTC.
    codes
        int32 (N,): which symbol a row belongs to.
    bars
        float64 (N, 5): open, high, low, close, volume.
    realised
        float64 (N,) or ``None``.
    """
    o, h, low, c, volume = bars.T
    rules: list[tuple[str, NDArray[np.bool_], Callable[[int], str]]] = []

    def rule(column: str, broken: NDArray[np.bool_], text: str | Callable[[int], str]) -> None:
        rules.append((column, broken, text if callable(text) else lambda _: text))

    def span(i: int) -> str:
        return f"must lie within [low, high] = [{low[i]:.12g}, {h[i]:.12g}]"

    for column, values in zip(FIELDS, bars.T, strict=True):
        rule(column, ~np.isfinite(values), "must be finite")
    for column, values in zip(FIELDS[:4], bars.T, strict=False):
        rule(column, values <= 0.0, "prices must be > 0")
    rule("high", h < low, lambda i: f"must be >= low = {low[i]:.12g}")
    rule("open", (o < low) | (o > h), span)
    rule("close", (c < low) | (c > h), lambda i: f"{span(i)}; adjusted closes are probably mixed with raw bars")
    rule("volume", volume < 0.0, "must be >= 0")
    if realised is not None:
        rule(REALISED, ~(np.isfinite(realised) & (realised >= 0.0)), "must be finite and >= 0 (0 where unknown)")
    order = by_symbol(codes)
    broken = np.zeros(len(stamps), bool)
    broken[order[1:]] = (np.diff(stamps[order]) <= 0) & (np.diff(codes[order]) == 0)
    rule(TIMESTAMP, broken, lambda i: _after(stamps[: i + 1][codes[: i + 1] == codes[i]]))

    found = [(int(np.argmax(broken)), k) for k, (_, broken, _) in enumerate(rules) if broken.any()]
    if not found:
        return None
    index, k = min(found)
    return Violation(index, rules[k][0], rules[k][2](index))


def _after(stamps: NDArray[np.int64]) -> str:
    what = "repeats" if stamps[-1] == stamps[-2] else "must come after"
    return f"{what} that of the symbol's row before, {time_text(stamps[-2])}; times must be strictly increasing"

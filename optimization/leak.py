"""The pipeline's own leak check: a feature that looked ahead is named before anything learns from it.

A feature at bar t is causal when it is the same bits whatever comes after t: the bars of the
file, nothing at all, or other bars.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import LeakError
from predictors.core.features import FeatureBlock
from predictors.core.window import CLOSE, VOLUME
from predictors.wavelet.spec import FeatureSpec

Features = Callable[[NDArray[np.float64], FeatureSpec], FeatureBlock]

_EDGE_ORIGINS = 500
_MIDDLE_ORIGINS = 4000
_SCRAMBLED_ORIGINS = 32
_CUTS = 8


def check_causal(features: Features, bars: NDArray[np.float64], spec: FeatureSpec, seed: int) -> FeatureBlock:
    """Compute the features of a series and refuse them if one depends on more than its own window.

    For every origin t (up to 5,000 of them; of longer series both ends and a random choice
    between) the features of the window that ends at t are computed again with the later bars cut
    off, and for some with wild bars in their place.

    Parameters
    ----------
    features
        Features of every window of a series, as `predictors.wavelet.features.series_features`
        computes them.
    bars
        float64 (N, 5) or (N, 6), N >= ``spec.window_bars``.
    spec
        What ``features`` computes.
    seed
        Of the choice of origins and of the wild bars.

    Returns
    -------
    FeatureBlock
        ``features(bars, spec)``.

    Raises
    ------
    LeakError
        Naming the first feature that differs, and its bar.
    """
    block = features(bars, spec)
    rows = len(bars) - spec.window_bars + 1
    expected = ((rows, len(spec.columns)), (rows, spec.sequence_bars, len(spec.channels)))
    if (block.tabular.shape, block.sequence.shape) != expected:
        raise LeakError(
            f"the features have shapes {block.tabular.shape} and {block.sequence.shape}, "
            f"expected {expected[0]} and {expected[1]}: one row for each window"
        )
    random = np.random.default_rng(seed)
    origins = _spread(rows, random)
    scrambled = set(random.choice(origins, min(_SCRAMBLED_ORIGINS, len(origins)), replace=False).tolist())
    for row in origins.tolist():
        window = bars[row : row + spec.window_bars]
        if (found := _first_change(block, row, features(window, spec), 1, spec)) is not None:
            raise LeakError(_verdict(features, bars, spec, block, *found))
        if row in scrambled:
            wild = features(np.concatenate([window, _wild_bars(window, random)]), spec)
            if (found := _first_change(block, row, wild, 1, spec)) is not None:
                raise LeakError(_looks_ahead(*found))
    return block


def _spread(rows: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Rows to check, ascending: all of few; of many, both ends and a random choice between."""
    between = np.arange(_EDGE_ORIGINS, rows - _EDGE_ORIGINS)
    if len(between) <= _MIDDLE_ORIGINS:
        return np.arange(rows)
    chosen = np.sort(random.choice(between, _MIDDLE_ORIGINS, replace=False))
    return np.concatenate([np.arange(_EDGE_ORIGINS), chosen, np.arange(rows - _EDGE_ORIGINS, rows)])


def _wild_bars(window: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """As many valid bars as the window has, unlike those of any market: 10 % a bar, any volume."""
    count, fields = window.shape
    centre = window[-1, CLOSE] * np.exp(np.cumsum(random.normal(0.0, 0.1, count)))
    low, first, second, high = np.sort(centre[:, None] * np.exp(random.normal(0.0, 0.1, (count, 4))), axis=1).T
    rest = np.exp(random.normal(0.0, 3.0, (count, fields - VOLUME)))
    return np.column_stack([first, high, low, second, rest])


def _verdict(
    features: Features, bars: NDArray[np.float64], spec: FeatureSpec, block: FeatureBlock, bar: int, name: str
) -> str:
    """What is wrong with feature ``name``, which at ``bar`` is not what the window alone gives.

    It looks ahead if cutting the file changes what comes before the cut; else it reads bars
    before its window.
    """
    for last in np.linspace(bar, len(bars) - 1, _CUTS, endpoint=False, dtype=np.int64).tolist():
        count = last + 2 - spec.window_bars
        if (found := _first_change(block, 0, features(bars[: last + 1], spec), count, spec)) is not None:
            return _looks_ahead(*found)
    return (
        f"feature {name} at bar {bar} changes when bars before its window of {spec.window_bars} bars change: "
        "a server has no more than the window"
    )


def _looks_ahead(bar: int, name: str) -> str:
    return f"feature {name} at bar {bar} changes when later bars change: it looks ahead"


def _first_change(
    block: FeatureBlock, row: int, other: FeatureBlock, count: int, spec: FeatureSpec
) -> tuple[int, str] | None:
    """Bar and name of the first feature that differs between rows ``row``... of ``block`` and 0... of ``other``."""
    tabular = _bits(block.tabular[row : row + count]) != _bits(other.tabular[:count])
    sequence = _bits(block.sequence[row : row + count]) != _bits(other.sequence[:count])
    changed = tabular.any(axis=1) | sequence.any(axis=(1, 2))
    if not changed.any():
        return None
    first = int(np.argmax(changed))
    bar = row + first + spec.window_bars - 1
    if tabular[first].any():
        return bar, f"'{spec.columns[np.argmax(tabular[first])]}'"
    step, channel = np.argwhere(sequence[first])[0]
    return bar, f"'{spec.channels[channel]}' (sequence step {step})"


def _bits(features: NDArray[np.float32]) -> NDArray[np.uint32]:
    """As integers, so that NaN equals itself and 0 differs from -0."""
    return np.ascontiguousarray(features, np.float32).view(np.uint32)

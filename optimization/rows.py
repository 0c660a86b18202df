"""Training rows: features and targets of every origin of every symbol, on one timeline.

A row enters a fit at refit origin r only when its target has matured, that is when the last bar
of the target is not later than r. With several symbols, "later" is read off the timeline of all
their timestamps.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from optimization.data.bars import BarSeries, BarTable
from optimization.data.quality import poor_bars
from optimization.leak import Features, check_causal
from optimization.targets import log_variance_target, realised_variance
from predictors.core.errors import DataError
from predictors.core.proxies import REALISED, variance_proxy
from predictors.wavelet.spec import FeatureSpec

HORIZONS = (1, 5)
FEWEST_ROWS = 100
"""Matured rows below which nothing is fitted."""
UNKNOWN = np.iinfo(np.int64).max
"""Timeline position of what has not happened yet."""


@dataclass(frozen=True, slots=True)
class Rows:
    """N origins, in order of time and then symbol.

    Attributes
    ----------
    tabular, sequence
        float32 (N, F) and (N, S, C), as in `FeatureBlock`.
    log_target
        float64 (N, H): ln of the mean floored proxy over t+1..t+h; NaN where unknown.
    realised
        float64 (N, H): mean unfloored proxy over t+1..t+h; NaN where unknown.
    symbol, bar
        int64 (N,): index of the series, and of the origin bar in it.
    timestamps
        int64 (N,): of the origin bar, ns UTC.
    origin
        int64 (N,): position of the origin bar on the timeline.
    matured
        int64 (N, H): position of bar t+h on the timeline, `UNKNOWN` if it lies ahead.
    learnable
        bool (N,): the bars around the origin are good enough to learn from.
    floored_bars
        int64 (N,): bars of the window whose proxy was floored.
    """

    tabular: NDArray[np.float32]
    sequence: NDArray[np.float32]
    log_target: NDArray[np.float64]
    realised: NDArray[np.float64]
    symbol: NDArray[np.int64]
    bar: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    origin: NDArray[np.int64]
    matured: NDArray[np.int64]
    learnable: NDArray[np.bool_]
    floored_bars: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.origin)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """A contiguous copy of some rows."""
        return Rows(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def matured_by(self, refit_origin: int) -> Rows:
        """The rows that a fit at ``refit_origin`` may learn from; targets not matured by then are NaN."""
        known = (self.matured <= refit_origin) & self.learnable[:, None] & np.isfinite(self.log_target)
        fewest = int(known.sum(axis=0).min())
        if fewest < FEWEST_ROWS:
            raise DataError(
                f"{fewest} rows with a matured target and good enough bars are too few to fit; {FEWEST_ROWS} are "
                "needed: give a longer or better history ('wavecast data check' shows its quality by year)"
            )
        any_known = np.asarray(known.any(axis=1))
        chosen = self.take(any_known)
        return replace(chosen, log_target=np.where(known[any_known], chosen.log_target, np.nan))


def make_rows(table: BarTable, spec: FeatureSpec, features: Features) -> Rows:
    """Rows of every origin that has a full window, from features that were checked for look-ahead.

    Parameters
    ----------
    table
        Checked bars.
    spec
        What ``features`` computes.
    features
        `predictors.wavelet.features.series_features`, or a leaking one in the tests.

    Raises
    ------
    DataError
        If a symbol has too few bars for one window.
    LeakError
        If a feature looks ahead.
    """
    timeline = np.unique(np.concatenate([series.timestamps for series in table.series]))
    parts = [_series_rows(series, index, spec, features, timeline) for index, series in enumerate(table.series)]
    merged = Rows(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Rows)})
    return merged if len(parts) == 1 else merged.take(np.lexsort((merged.symbol, merged.origin)))


def series_bars(series: BarSeries, proxy: str) -> NDArray[np.float64]:
    """What the features read: float64 (N, 5), or (N, 6) with the file's ``realised`` if that is the proxy.

    Raises
    ------
    DataError
        If the proxy is ``realised`` and the file has no such column.
    """
    if proxy != REALISED:
        return series.bars
    if series.realised is None:
        raise DataError("proxy 'realised' needs a column 'realised' in the file; add it or choose another proxy")
    return np.column_stack([series.bars, series.realised])


def series_proxy(series: BarSeries, name: str) -> NDArray[np.float64]:
    """Variance proxy of each bar of a series, float64 (N,)."""
    bars = series_bars(series, name)
    return variance_proxy(name, bars, np.log(np.ascontiguousarray(bars[:, :4])))


def _learnable(bars: NDArray[np.float64], proxy: str) -> NDArray[np.bool_]:
    """Poor bars have poor ranges, which only the range-based proxies read."""
    if proxy in ("garman_klass", "parkinson"):
        return ~poor_bars(bars)
    return np.ones(len(bars), bool)


def _series_rows(
    series: BarSeries, index: int, spec: FeatureSpec, features: Features, timeline: NDArray[np.int64]
) -> Rows:
    first = spec.window_bars - 1
    if len(series.bars) <= first:
        who = f"symbol '{series.symbol}' has" if series.symbol else "the file has"
        raise DataError(f"{who} {len(series.bars)} bars; one window needs {spec.window_bars}")
    block = check_causal(features, series_bars(series, spec.proxy), spec, seed=0)
    proxy = series_proxy(series, spec.proxy)
    place = np.searchsorted(timeline, series.timestamps)
    origins = np.arange(first, len(series.bars))
    matured = np.full((len(origins), len(HORIZONS)), UNKNOWN)
    for column, horizon in enumerate(HORIZONS):
        known = origins + horizon < len(series.bars)
        matured[known, column] = place[origins[known] + horizon]
    return Rows(
        tabular=block.tabular,
        sequence=block.sequence,
        log_target=np.stack([log_variance_target(proxy, h)[first:] for h in HORIZONS], axis=1),
        realised=np.stack([realised_variance(proxy, h)[first:] for h in HORIZONS], axis=1),
        symbol=np.full(len(origins), index),
        bar=origins,
        timestamps=series.timestamps[first:],
        origin=place[first:],
        matured=matured,
        learnable=_learnable(series.bars, spec.proxy)[first:],
        floored_bars=block.floored_bars,
    )

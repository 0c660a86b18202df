"""The pieces of a backtest that can run beside each other, as module-level functions for the workers."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from optimization.baselines.ewma import ewma_forecasts
from optimization.baselines.garch import garch_forecasts
from optimization.baselines.har import har_forecasts
from optimization.control import control_forecasts, log_returns_ahead
from optimization.data.bars import BarSeries, BarTable
from optimization.parallel import Advance, Arrays
from optimization.rows import HORIZONS, Rows, series_proxy
from optimization.targets import FLOOR_BARS, floored_proxy, log_variance_target, realised_variance
from optimization.train.members import LEARNERS
from optimization.walkforward import Schedule, walk_forward
from predictors.core.proxies import close_returns
from predictors.wavelet.spec import FeatureSpec

FIRST_ROW = FLOOR_BARS + 20
"""First bar of the baselines' training rows: the first with 22 floored proxies."""
FIRST_OWN_BAR = 250
"""Bar of its own history from which a symbol is reported: the baselines are fitted to each symbol alone."""

WAVELET_GROUPS = ("haar", "return_haar", "energy")
LEVERAGE_GROUPS = ("leverage", "downside", "return_haar")


def reported(rows: Rows, first_reported: int) -> NDArray[np.bool_]:
    """Which rows a backtest reports, bool (N,)."""
    return np.asarray((rows.origin >= first_reported) & (rows.bar >= FIRST_OWN_BAR))


def member_task(
    rows: Rows,
    spec: FeatureSpec,
    kind: str | None,
    schedule: Schedule,
    seed: int,
    without: tuple[str, ...] = (),
    *,
    advance: Advance,
) -> Arrays:
    """Walk one member forward; ``kind`` ``None`` for the backbone alone."""
    learner = None if kind is None else LEARNERS[kind]
    return {"log_variance": walk_forward(rows, spec, learner, schedule, seed, advance, without)}


def baselines_task(
    table: BarTable,
    rows: Rows,
    proxy: str,
    family: Literal["har", "garch"],
    first_reported: int,
    refit_every: int,
    *,
    advance: Advance,
) -> Arrays:
    """Forecasts of one family of baselines for every symbol; float64 (N, H) by model, NaN where not reported."""
    out: Arrays = {}
    notes: Arrays = {}
    chosen = reported(rows, first_reported)
    for index, series in enumerate(table.series):
        places = np.flatnonzero((rows.symbol == index) & chosen)
        if places.size:
            forecasts = (_har if family == "har" else _garch)(series, proxy, rows.bar[places], refit_every, notes)
            for model, variance in forecasts.items():
                out.setdefault(model, np.full(rows.log_target.shape, np.nan))[places] = variance
        advance()
    return out | notes


def control_task(table: BarTable, rows: Rows, schedule: Schedule, *, advance: Advance) -> Arrays:
    """The return control."""
    realised = np.full(rows.log_target.shape, np.nan)
    for index, series in enumerate(table.series):
        places = rows.symbol == index
        ahead = np.stack([log_returns_ahead(series.bars, h) for h in HORIZONS], axis=1)
        realised[places] = ahead[rows.bar[places]]
    control = control_forecasts(rows, realised, schedule)
    advance()
    return {"forecast": control.forecast, "constant": control.constant, "realised": control.realised}


def _har(
    series: BarSeries, proxy: str, origins: NDArray[np.int64], refit_every: int, notes: Arrays
) -> dict[str, NDArray[np.float64]]:
    raw = series_proxy(series, proxy)
    floored = floored_proxy(raw)
    by_model: dict[str, list[NDArray[np.float64]]] = {}
    for horizon in HORIZONS:
        har = har_forecasts(
            floored,
            _returns(series),
            np.exp(log_variance_target(raw, horizon)),
            horizon,
            origins,
            refit_every,
            FIRST_ROW,
            realised_variance(raw, horizon),
        )
        notes[f"winner_{series.symbol}_{horizon}"] = np.array(har.winner)
        for model, variance in {**har.variance, **{f"har_{name}": v for name, v in har.plain.items()}}.items():
            by_model.setdefault(model, []).append(variance)
    return {model: np.stack(columns, axis=1) for model, columns in by_model.items()}


def _garch(
    series: BarSeries, proxy: str, origins: NDArray[np.int64], refit_every: int, notes: Arrays
) -> dict[str, NDArray[np.float64]]:
    raw, returns = series_proxy(series, proxy), _returns(series)
    found = garch_forecasts(returns, raw, HORIZONS, origins, refit_every, FIRST_ROW)
    for model, count in found.unconverged.items():
        notes[f"unconverged_{model}"] = notes.get(f"unconverged_{model}", np.array(0)) + count
    out = {model: np.stack([by[h] for h in HORIZONS], axis=1) for model, by in found.variance.items()}
    ewma = ewma_forecasts(returns, raw, origins, FIRST_ROW)
    return {**out, "ewma": np.stack([ewma] * len(HORIZONS), axis=1)}


def _returns(series: BarSeries) -> NDArray[np.float64]:
    return close_returns(np.log(np.ascontiguousarray(series.bars[:, :4])))

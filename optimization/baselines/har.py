"""HAR and its relatives: linear forecasts from trailing means of the variance proxy.

References
----------
HAR: Corsi (2009), doi:10.1093/jjfinec/nbp001. WLS: Patton & Sheppard (2015),
doi:10.1162/REST_a_00503. Leverage: Corsi & Renò (2012), doi:10.1080/07350015.2012.663261.
Smearing: Duan (1983), doi:10.1080/01621459.1983.10478017. The choice among nine fits:
Chassot & Audrino, arXiv:2406.08041.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.metrics.losses import mean_loss, qlike
from predictors.core.errors import InvalidInput

Floats = NDArray[np.float64]

AVERAGES_BARS = (1, 5, 22)
PLAIN_WINDOWS = {"600": 600, "1000": 1000, "expanding": None}
FEWEST_ROWS = 50
"""Training rows below which no HAR is fitted."""


@dataclass(frozen=True, slots=True)
class HarForecasts:
    """Variance forecasts of one series at n origins.

    Attributes
    ----------
    variance
        float64 (n,) for each of har, har_wls, log_har, lhar, lhar_z, linear_mix and best_har.
        All but best_har depend on the past alone.
    plain
        float64 (n,) for each of the nine plain fits refitted at every origin, ``ols_600`` to
        ``wls_expanding``; each depends on the past alone.
    winner
        The plain fit that is best_har. It is chosen with hindsight, which makes best_har a
        yardstick and not a forecast that anybody could have made.
    """

    variance: dict[str, Floats]
    plain: dict[str, Floats]
    winner: str


@dataclass(frozen=True, slots=True)
class _Fit:
    coefficients: Floats
    lowest: float
    highest: float
    log_smearing: float | None = None  # None: fitted to the variance itself

    def variance(self, row: Floats) -> float:
        value = float((row * self.coefficients).sum())
        if self.log_smearing is None:
            return min(max(value, self.lowest), self.highest)
        return math.exp(min(max(value + self.log_smearing, self.lowest), self.highest))


@dataclass(frozen=True, slots=True)
class _Schedule:
    horizon_bars: int
    origins: NDArray[np.int64]
    refit_every: int
    rows: NDArray[np.int64]  # bars that may train, once their target has matured


def har_forecasts(
    proxy: Floats,
    returns: Floats,
    target: Floats,
    horizon_bars: int,
    origins: NDArray[np.int64],
    refit_every: int,
    first_row: int,
    realised: Floats | None = None,
) -> HarForecasts:
    """Walk-forward forecasts of the HAR family for one series and one horizon.

    A forecast at origin t uses bars up to t and the fit of the last refit bar r <= t, with
    r = origins[0] + k * refit_every; row s trains at r only when s + horizon_bars <= r.
    Nothing else of the arrays is read for it, so it keeps its bits whatever comes later.
    Forecasts are clipped to the range of their training targets.

    Parameters
    ----------
    proxy
        float64 (N,), variance per bar, floored: > 0 from bar ``first_row - 21`` on.
    returns
        float64 (N,), close-to-close log returns, finite from the same bar on.
    target
        float64 (N,), mean proxy over t+1..t+horizon_bars, > 0; NaN where unknown or where a
        row shall not train.
    horizon_bars
        h >= 1.
    origins
        int64 (n,), strictly increasing bars at which forecasts are made.
    refit_every
        Bars between refits (the nine plain fits are refitted at every origin).
    first_row
        First bar that may train, >= 21.
    realised
        float64 (N,), the values that choose best_har, NaN at origins that shall not count;
        ``target`` where not given.

    Raises
    ------
    InvalidInput
        For fewer than `FEWEST_ROWS` training rows at the first origin, and for values that
        break the rules above.
    """
    last = int(origins[-1]) + 1
    used = slice(first_row - AVERAGES_BARS[-1] + 1, last)
    if used.start < 0:
        raise InvalidInput(f"first_row is {first_row}; the 22-bar mean needs it to be at least 21")
    if not (proxy[used] > 0.0).all():
        bar = used.start + int(np.argmin(proxy[used] > 0.0))
        raise InvalidInput(f"proxy at bar {bar} is {proxy[bar]:g}; floor it, HAR needs every variance > 0")
    if not np.isfinite(returns[used]).all():
        bar = used.start + int(np.argmin(np.isfinite(returns[used])))
        raise InvalidInput(f"return at bar {bar} is {returns[bar]:g}; every return must be finite")

    levels = _with_constant(_trailing_means(proxy[:last]))
    logs = _with_constant(np.log(_trailing_means(proxy[:last])))
    leverage = np.minimum(_trailing_means(returns[:last]), 0.0)
    designs = {
        "har": (levels, _fit_ols),
        "har_wls": (levels, _fit_wls),
        "log_har": (logs, _fit_log),
        "lhar": (np.vstack([logs, leverage]), _fit_log),
        "lhar_z": (np.vstack([logs, leverage / np.sqrt(levels[-1])]), _fit_log),
    }
    schedule = _Schedule(horizon_bars, origins, refit_every, _trainable(target[:last], first_row))
    variance = {name: _walk(x, target, fit, schedule) for name, (x, fit) in designs.items()}
    mixed = [np.log(variance[name]) for name in ("lhar", "lhar_z", "har_wls", "log_har")]
    variance["linear_mix"] = np.exp((mixed[0] + mixed[1] + mixed[2] + mixed[3]) / 4.0)

    daily = _Schedule(horizon_bars, origins, 1, schedule.rows)
    plain = {
        f"{kind}_{window}": _walk(*designs[name][:1], target, designs[name][1], daily, bars)
        for kind, name in (("ols", "har"), ("log", "log_har"), ("wls", "har_wls"))
        for window, bars in PLAIN_WINDOWS.items()
    }
    judged_on = (target if realised is None else realised)[origins]
    winner = min(plain, key=lambda name: mean_loss(qlike(judged_on, plain[name])).mean)
    variance["best_har"] = plain[winner]
    return HarForecasts(variance, plain, winner)


def fit_log_har(proxy: Floats, target: Floats, rows: NDArray[np.int64]) -> tuple[Floats, float]:
    """Log-HAR on given rows: ln target = b · (1, ln mean proxy over 1, 5, 22 bars) + e.

    Parameters
    ----------
    proxy
        float64 (N,), > 0. Several symbols may stand one after the other, as long as no row
        lies within the first 21 bars of its symbol.
    target
        float64 (N,), mean proxy over t+1..t+h.
    rows
        int64 (n,), the bars that train, each >= 21 and with a known target.

    Returns
    -------
    coefficients
        float64 (4,): constant, then 1, 5 and 22 bars.
    smearing
        mean exp(e), the factor that turns exp(b · x) into a mean forecast.
    """
    logs = _with_constant(np.log(_trailing_means(proxy)))
    fit = _fit_log(np.vstack([logs, target])[:, rows])
    assert fit.log_smearing is not None
    return fit.coefficients, math.exp(fit.log_smearing)


def _trailing_means(x: Floats) -> Floats:
    """(3, N): means over the last 1, 5 and 22 bars, NaN before the first full one."""
    out = np.full((len(AVERAGES_BARS), x.size), np.nan)
    for mean, bars in zip(out, AVERAGES_BARS, strict=True):
        # Lag by lag: a running sum would carry the rounding of one bar into all later ones.
        total = x[bars - 1 :].copy()
        for lag in range(1, bars):
            total += x[bars - 1 - lag : x.size - lag]
        mean[bars - 1 :] = total / bars
    return out


def _with_constant(columns: Floats) -> Floats:
    return np.vstack([np.ones(columns.shape[1]), columns])


def _trainable(target: Floats, first_row: int) -> NDArray[np.int64]:
    rows = np.flatnonzero(np.isfinite(target)).astype(np.int64)
    return rows[rows >= first_row]


def _walk(
    design: Floats,
    target: Floats,
    fit_rows: Callable[[Floats], _Fit],
    schedule: _Schedule,
    window_rows: int | None = None,
) -> Floats:
    """Forecasts (n,) of one model; ``design`` is (k, N), the last ``window_rows`` rows train (None: all)."""
    training = np.vstack([design, target[: design.shape[1]]])[:, schedule.rows]
    matured_from = schedule.rows + schedule.horizon_bars
    first = int(schedule.origins[0])
    out = np.empty(schedule.origins.size)
    refitted_at = -1
    for i, origin in enumerate(schedule.origins):
        due = first + (int(origin) - first) // schedule.refit_every * schedule.refit_every
        if due != refitted_at:
            stop = int(np.searchsorted(matured_from, due, side="right"))
            if stop < FEWEST_ROWS:
                raise InvalidInput(
                    f"origin {due} has {stop} training rows; HAR needs {FEWEST_ROWS}, so start the forecasts later"
                )
            start = 0 if window_rows is None else max(0, stop - window_rows)
            # A copy, so that strides, and with them the order of summation, do not depend on what follows.
            fit = fit_rows(np.ascontiguousarray(training[:, start:stop]))
            refitted_at = due
        out[i] = fit.variance(design[:, origin])
    return out


def _fit_ols(training: Floats) -> _Fit:
    y = training[-1]
    return _Fit(_solve(_cross_products(training, training)), float(y.min()), float(y.max()))


def _fit_wls(training: Floats) -> _Fit:
    ols = _fit_ols(training)
    fitted = np.clip(_combine(ols.coefficients, training), ols.lowest, ols.highest)
    return _Fit(_solve(_cross_products(training, training / fitted)), ols.lowest, ols.highest)


def _fit_log(training: Floats) -> _Fit:
    training = np.vstack([training[:-1], np.log(training[-1])])
    ols = _fit_ols(training)
    residuals = training[-1] - _combine(ols.coefficients, training)
    return _Fit(ols.coefficients, ols.lowest, ols.highest, math.log(np.exp(residuals).mean()))


# einsum and not BLAS: BLAS sums in an order that depends on its threads and its processor.
def _cross_products(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("ji,ki->jk", a, b))


def _combine(coefficients: Floats, training: Floats) -> Floats:
    return np.asarray(np.einsum("j,ji->i", coefficients, training[:-1]))


def _solve(products: Floats) -> Floats:
    """Least squares from the cross products (k+1, k+1) of the columns and, last, the target."""
    size = np.sqrt(np.diagonal(products)[:-1])
    size = np.where(size > 0.0, size, 1.0)  # a column of zeros (no loss yet) gets coefficient 0
    scaled = products[:-1, :-1] / np.outer(size, size)
    return np.asarray(np.linalg.lstsq(scaled, products[:-1, -1] / size, rcond=None)[0] / size)

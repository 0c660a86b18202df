"""GARCH(1,1) and GJR(1,1) with normal errors and a constant mean, turned into forecasts of the proxy.

References
----------
Bollerslev (1986), doi:10.1016/0304-4076(86)90063-1; Glosten, Jagannathan & Runkle (1993),
doi:10.1111/j.1540-6261.1993.tb05128.x.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from arch.univariate import GARCH, ConstantMean
from arch.utility.exceptions import StartingValueWarning
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput

Floats = NDArray[np.float64]

_ASYMMETRIC_LAGS = {"garch": 0, "gjr": 1}


@dataclass(frozen=True, slots=True)
class GarchForecasts:
    """Variance forecasts of one series at n origins.

    Attributes
    ----------
    variance
        ``garch`` and ``gjr`` -> horizon in bars -> float64 (n,), in the unit of the proxy.
    unconverged
        Refits at which the optimiser failed from the last and from its own starting values, so
        that the last parameters stayed (at the first refit: the best it found).
    """

    variance: dict[str, dict[int, Floats]]
    unconverged: dict[str, int]


def garch_forecasts(
    returns: Floats,
    proxy: Floats,
    horizon_bars: Sequence[int],
    origins: NDArray[np.int64],
    refit_every: int,
    first_row: int,
) -> GarchForecasts:
    """Walk-forward forecasts of the mean variance over t+1..t+h for one series.

    Parameters are fitted to the returns first_row..r at the refit bars
    r = origins[0] + k * refit_every and filtered forward in between. The forecast at t is the
    mean of the h conditional variances ahead, times sum(proxy) / sum(conditional variance) over
    first_row..t under the parameters in force: close-to-close returns see the night, a proxy of
    the day does not. Nothing after t is read.

    Parameters
    ----------
    returns
        float64 (N,), close-to-close log returns, finite and not constant from ``first_row`` on.
    proxy
        float64 (N,), variance per bar, finite from ``first_row`` on.
    horizon_bars
        Horizons h >= 1.
    origins
        int64 (n,), strictly increasing bars at which forecasts are made.
    refit_every
        Bars between refits.
    first_row
        First bar used.

    Raises
    ------
    InvalidInput
        For returns that are not finite, or constant up to the first origin.
    """
    used = returns[first_row : int(origins[-1]) + 1]
    if not np.isfinite(used).all():
        bar = first_row + int(np.argmin(np.isfinite(used)))
        raise InvalidInput(f"return at bar {bar} is {returns[bar]:g}; every return must be finite")
    if np.ptp(returns[first_row : int(origins[0]) + 1]) == 0.0:
        raise InvalidInput(f"returns are constant up to bar {int(origins[0])}; GARCH needs returns that vary")
    # The optimiser's tolerances suit returns of about 1; those of a minute bar it would leave at its start.
    scaled = returns / returns[first_row : int(origins[0]) + 1].std()
    variance: dict[str, dict[int, Floats]] = {}
    unconverged: dict[str, int] = {}
    for name in _ASYMMETRIC_LAGS:
        variance[name], unconverged[name] = _walk(name, scaled, proxy, horizon_bars, origins, refit_every, first_row)
    return GarchForecasts(variance, unconverged)


def _walk(
    name: str,
    returns: Floats,
    proxy: Floats,
    horizon_bars: Sequence[int],
    origins: NDArray[np.int64],
    refit_every: int,
    first_row: int,
) -> tuple[dict[int, Floats], int]:
    out = {h: np.empty(origins.size) for h in horizon_bars}
    params: Floats | None = None
    unconverged = 0
    last = int(origins[-1])
    for refit in range(int(origins[0]), last + 1, refit_every):
        model = ConstantMean(
            returns[first_row : refit + 1], volatility=GARCH(1, _ASYMMETRIC_LAGS[name], 1), rescale=False
        )
        params, converged = _fit(model, params)
        unconverged += not converged
        mean, omega, alpha, *asymmetry, beta = (float(p) for p in params)
        gamma = sum(asymmetry)
        past = model.fix(params).conditional_volatility ** 2
        conditional = float(past[-1])
        conditional_sum, proxy_sum = float(past[:-1].sum()), float(proxy[first_row:refit].sum())
        for bar in range(refit, min(refit + refit_every, last + 1)):
            conditional_sum += conditional
            proxy_sum += float(proxy[bar])
            shock = float(returns[bar]) - mean
            conditional = omega + (alpha + gamma * (shock < 0.0)) * shock**2 + beta * conditional
            place = int(np.searchsorted(origins, bar))
            if bar == origins[place]:
                for h, forecasts in out.items():
                    ahead = _mean_ahead(conditional, omega, alpha + gamma / 2.0 + beta, h)
                    forecasts[place] = proxy_sum / conditional_sum * ahead
    return out, unconverged


def _mean_ahead(first: float, omega: float, persistence: float, horizon_bars: int) -> float:
    total = step = first
    for _ in range(horizon_bars - 1):
        step = omega + persistence * step
        total += step
    return total / horizon_bars


def _fit(model: ConstantMean, last: Floats | None) -> tuple[Floats, bool]:
    """Parameters, and whether the optimiser converged; from ``last`` first, then from its own start."""
    for start in (last, None) if last is not None else (None,):
        with warnings.catch_warnings():
            # Parameters on a bound can lie a rounding error beyond it; arch starts from them all the same.
            warnings.simplefilter("ignore", StartingValueWarning)
            result = model.fit(disp="off", show_warning=False, starting_values=start)
        if result.convergence_flag == 0 and np.isfinite(result.params).all():
            return np.asarray(result.params, dtype=np.float64), True
    return (np.asarray(result.params, dtype=np.float64) if last is None else last), False

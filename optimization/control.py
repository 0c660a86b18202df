"""The control: the same features asked for the next return, which they should not know.

A ridge on all columns forecasts the log return over t+1..t+h. Its report says plainly whether it
beats a constant; if it does so significantly, look for a leak first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.rows import HORIZONS, UNKNOWN, Rows
from optimization.walkforward import Schedule

_PENALTY = 1.0
_CLIP = 8.0


@dataclass(frozen=True, slots=True)
class ControlForecasts:
    """Log-return forecasts, their constant rival and what came, each float64 (N, H)."""

    forecast: NDArray[np.float64]
    constant: NDArray[np.float64]
    realised: NDArray[np.float64]


def log_returns_ahead(bars: NDArray[np.float64], horizon_bars: int) -> NDArray[np.float64]:
    """Log return from the close of t to that of t+h, float64 (N,); NaN for the last h bars."""
    close = np.log(bars[:, 3])
    out = np.full(len(close), np.nan)
    out[:-horizon_bars] = close[horizon_bars:] - close[:-horizon_bars]
    return out


def control_forecasts(rows: Rows, realised: NDArray[np.float64], schedule: Schedule) -> ControlForecasts:
    """Walk the control forward, with the splits of the members.

    Parameters
    ----------
    rows
        All origins.
    realised
        float64 (N, H): log returns ahead, NaN where unknown.
    schedule
        Of the members.
    """
    forecast = np.full(realised.shape, np.nan)
    constant = np.full(realised.shape, np.nan)
    for refit in schedule.refits(int(rows.origin[-1])):
        chosen = (rows.origin >= refit) & (rows.origin < refit + schedule.refit_every)
        for h in range(len(HORIZONS)):
            past = (rows.matured[:, h] <= refit) & (rows.matured[:, h] != UNKNOWN) & rows.learnable
            x = np.ascontiguousarray(rows.tabular[past], np.float64)
            y = realised[past, h]
            mean, spread = x.mean(axis=0), x.std(axis=0)
            scale = np.where(spread > 0, spread, 1.0)
            z = np.clip((x - mean) / scale, -_CLIP, _CLIP)
            gram = z.T @ z / len(y)
            gram[np.diag_indices_from(gram)] += _PENALTY
            weights = np.linalg.solve(gram, z.T @ (y - y.mean()) / len(y))
            ahead = np.clip((rows.tabular[chosen].astype(np.float64) - mean) / scale, -_CLIP, _CLIP)
            constant[chosen, h] = y.mean()
            forecast[chosen, h] = np.add.reduce(ahead * weights, axis=1) + y.mean()
    return ControlForecasts(forecast, constant, realised)

"""RiskMetrics' exponentially weighted variance of close-to-close returns, scaled to the proxy.

Source: J.P. Morgan/Reuters (1996), *RiskMetrics Technical Document*, 4th ed., decay 0.94.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DECAY = 0.94


def ewma_forecasts(
    returns: NDArray[np.float64], proxy: NDArray[np.float64], origins: NDArray[np.int64], first_row: int
) -> NDArray[np.float64]:
    """Variance forecasts, the same for every horizon.

    Parameters
    ----------
    returns, proxy
        float64 (N,), from bar ``first_row`` on.
    origins
        int64 (n,), increasing bars after ``first_row``; a forecast uses nothing later.
    first_row
        First bar used; its squared return starts the recursion.

    Returns
    -------
    float64 (n,): conditional variance times the running ratio proxy / conditional variance, as
    the GARCH baselines are scaled.
    """
    out = np.empty(len(origins))
    place = 0
    variance = float(returns[first_row] ** 2)
    variance_sum, proxy_sum = 0.0, 0.0
    for bar in range(first_row, int(origins[-1]) + 1):
        variance_sum += variance
        proxy_sum += float(proxy[bar])
        variance = DECAY * variance + (1.0 - DECAY) * float(returns[bar] ** 2)
        if bar == origins[place]:
            out[place] = variance * proxy_sum / variance_sum
            place += 1
    return out

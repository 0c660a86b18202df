"""Real bars for every test: what the `arch` package ships."""

from __future__ import annotations

import numpy as np
import pytest
from arch.data import nasdaq, sp500
from hypothesis import settings
from numpy.typing import NDArray

# A slow or busy machine is no failure: no time limit for an example.
settings.register_profile("wavecast", deadline=None)
settings.load_profile("wavecast")

_COLUMNS = ["Open", "High", "Low", "Close", "Volume"]


@pytest.fixture(scope="session")
def nasdaq_bars() -> NDArray[np.float64]:
    """NASDAQ Composite, daily, 1999-2018: float64 (5031, 5), read-only."""
    return _frozen(nasdaq.load()[_COLUMNS].to_numpy(np.float64))


@pytest.fixture(scope="session")
def sp500_bars() -> NDArray[np.float64]:
    """S&P 500, daily, 1999-2018: float64 (5031, 5), read-only; its opens often repeat the last close."""
    return _frozen(sp500.load()[_COLUMNS].to_numpy(np.float64))


def _frozen(bars: NDArray[np.float64]) -> NDArray[np.float64]:
    bars = np.array(bars, order="C")
    bars.flags.writeable = False
    return bars

"""DataFrames of bars to tensors, and tensors to DataFrames of forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput

_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Windows:
    """The last bars of each symbol.

    Attributes
    ----------
    tensors
        ``bars`` float64 (B, T, 5) and ``timestamps`` int64 (B, T), ns.
    origins
        Time of the last bar of each window, UTC.
    symbols
        Of each window; ``None`` if the table has no such column.
    """

    tensors: dict[str, NDArray[Any]]
    origins: pd.DatetimeIndex
    symbols: list[str] | None


def to_windows(table: pd.DataFrame, window_bars: int) -> Windows:
    """The last ``window_bars`` bars of the table, or of each of its symbols.

    Parameters
    ----------
    table
        Columns open, high, low, close, optionally volume and symbol; times in a column
        ``timestamp`` or as the index.
    window_bars
        Bars to send.

    Raises
    ------
    InvalidInput
        If a column or the times are missing, or a symbol has too few bars.
    """
    missing = [name for name in _PRICES if name not in table.columns]
    if missing:
        raise InvalidInput(f"the table has no column '{missing[0]}'; expected {', '.join(_PRICES)}")
    if "timestamp" not in table.columns and not isinstance(table.index, pd.DatetimeIndex):
        raise InvalidInput("the table has no times; expected a column 'timestamp' or a DatetimeIndex")
    if "symbol" in table.columns:
        groups = {str(symbol): group for symbol, group in table.groupby("symbol", sort=False)}
        symbols: list[str] | None = list(groups)
    else:
        groups, symbols = {"": table}, None
    bars, stamps = [], []
    for symbol, group in groups.items():
        if len(group) < window_bars:
            of = f"symbol '{symbol}'" if symbols else "the table"
            raise InvalidInput(f"{of} has {len(group)} bars; {window_bars} are needed")
        last = group.tail(window_bars)
        volume = last["volume"] if "volume" in last.columns else pd.Series(0.0, last.index)
        bars.append(np.column_stack([*(last[name] for name in _PRICES), volume]).astype(np.float64))
        times = pd.DatetimeIndex(
            pd.to_datetime(last["timestamp"] if "timestamp" in last.columns else last.index, utc=True)
        )
        stamps.append(times.as_unit("ns").asi8)
    tensors = {"bars": np.stack(bars), "timestamps": np.stack(stamps)}
    return Windows(tensors, pd.DatetimeIndex(tensors["timestamps"][:, -1].view("M8[ns]"), tz="UTC"), symbols)


def to_frame(
    windows: Windows, tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Any], bars_per_year: float
) -> pd.DataFrame:
    """One row per symbol and horizon.

    Columns: symbol (if the bars had it), origin (UTC), horizon (bars), variance (mean per bar),
    volatility (annualised: sqrt(variance * bars_per_year)), q<level> (quantiles of the variance),
    members, release, degraded.
    """
    horizons = [int(h) for h in parameters["horizons"].split(",")]
    count = len(windows.origins)
    variance = tensors["variance"].reshape(-1)
    columns: dict[str, Any] = {}
    if windows.symbols is not None:
        columns["symbol"] = np.repeat(np.array(windows.symbols, object), len(horizons))
    columns["origin"] = windows.origins.repeat(len(horizons))
    columns["horizon"] = np.tile(horizons, count)
    columns["variance"] = variance
    columns["volatility"] = np.sqrt(variance * bars_per_year)
    quantiles = tensors["quantiles"].reshape(len(variance), -1)
    for position, level in enumerate(parameters["quantile_levels"].split(",")):
        columns[f"q{level}"] = quantiles[:, position]
    return pd.DataFrame({**columns, **{name: parameters[name] for name in ("members", "release", "degraded")}})

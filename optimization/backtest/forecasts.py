"""``forecasts.csv``: every forecast of every model, one line each; the same file gives the same bytes."""

from __future__ import annotations

import csv
import io
import math

import numpy as np

from optimization.backtest.engine import ENSEMBLE, BacktestResult
from optimization.data.bars import BarTable
from optimization.ensemble import QUANTILE_LEVELS
from optimization.rows import HORIZONS

_DAY_NS = 86_400_000_000_000


def forecasts_csv(result: BacktestResult, table: BarTable) -> bytes:
    """Lines ``timestamp,horizon,model,variance,realised[,symbol],q0.05,...`` in order of time.

    ``timestamp`` is the origin bar; ``realised`` is empty where the target is not known yet; the
    quantiles are those of the ensemble and empty for every other model.
    """
    rows = result.rows
    symbols = [series.symbol for series in table.series]
    panel = any(symbols)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["timestamp", "horizon", "model", "variance", "realised", *(["symbol"] if panel else [])]
        + [f"q{level}" for level in QUANTILE_LEVELS]
    )
    dates = not (rows.timestamps % _DAY_NS).any()
    stamps = np.datetime_as_string(rows.timestamps.astype("datetime64[ns]"), unit="D" if dates else "s").tolist()
    columns = {name: values.tolist() for name, values in result.variance.items()}
    quantiles = result.quantiles.tolist()
    realised = rows.realised.tolist()
    owners = rows.symbol.tolist()
    nothing = [""] * len(QUANTILE_LEVELS)
    for i, stamp in enumerate(stamps):
        for h, horizon in enumerate(HORIZONS):
            known = "" if math.isnan(realised[i][h]) else repr(realised[i][h])
            who = [symbols[owners[i]]] if panel else []
            for name, values in columns.items():
                interval = [_text(q) for q in quantiles[i][h]] if name == ENSEMBLE else nothing
                line = [stamp if dates else f"{stamp}Z", horizon, name, _text(values[i][h]), known, *who, *interval]
                writer.writerow(line)
    return out.getvalue().encode()


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(value)

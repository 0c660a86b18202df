"""Options of the commands that talk to a running server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from predictors.core.errors import DataError, InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from predictors.client.access import Access

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class Duration(click.ParamType[float]):
    """A time such as 20ms, 1.5s or 2m; seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        parsed = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(us|ms|s|m)", value)
        if parsed is None or float(parsed[1]) == 0:
            self.fail(f"'{value}' is no time > 0; write it as in 500us, 20ms, 1.5s or 2m", param, ctx)
        return float(parsed[1]) * _UNITS_S[parsed[2]]


data_option = click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Bars to ask with, CSV or Parquet; made-up ones if not given.",
)
seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the made-up bars.")
key_option = click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that holds the key to show, and nothing else.",
)
ca_option = click.option(
    "--ca",
    "ca_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM of the authority that signed the server's certificate. [the system's]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")


def access_of(api_key_file: Path | None, ca_file: Path | None) -> Access:
    """How to be let in.

    Raises
    ------
    InvalidInput
        If the key file holds no key.
    """
    from predictors.client.access import Access

    if api_key_file is None:
        return Access(None, ca_file)
    key = api_key_file.read_text(encoding="utf-8", errors="replace").strip()
    if not key.isascii() or not key.isprintable() or not key or " " in key:
        raise InvalidInput(f"'{api_key_file}' holds no API key; expected one line of printable ASCII without spaces")
    return Access(key, ca_file)


def windows_of(data: Path | None, seed: int, windows: int, window_bars: int) -> dict[str, NDArray[Any]]:
    """Windows to ask with: of a file the last ones of its first symbol, one bar apart; else made up.

    Returns
    -------
    ``bars`` float64 (windows, window_bars, 5) and ``timestamps`` int64 (windows, window_bars), ns.

    Raises
    ------
    DataError
        If the file has too few bars or is no table of bars.
    """
    if data is None:
        from predictors.client.sample import sample_windows

        return sample_windows(windows, window_bars, seed)
    import numpy as np
    import pandas as pd

    from predictors.client.frame import to_windows

    try:
        table = pd.read_parquet(data) if data.suffix == ".parquet" else pd.read_csv(data)
        if "symbol" in table.columns:
            table = table[table["symbol"] == table["symbol"].iloc[0]].drop(columns="symbol")
        series = to_windows(table, len(table)).tensors
    except (ValueError, IndexError, InvalidInput) as wrong:
        raise DataError(f"'{data}' is no table of bars: {wrong}") from wrong
    starts = range(len(table) - window_bars + 1)[-windows:]
    if not starts:
        raise DataError(f"'{data}' has {len(table)} bars; {window_bars} are needed")
    chosen = [starts[row % len(starts)] for row in range(windows)]
    return {name: np.stack([array[0, s : s + window_bars] for s in chosen]) for name, array in series.items()}

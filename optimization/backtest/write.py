"""Run a backtest and write its three files, each whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from rich.progress import Progress

from optimization.backtest.engine import run_backtest
from optimization.backtest.forecasts import forecasts_csv
from optimization.backtest.page import render_page
from optimization.backtest.scores import score
from optimization.backtest.settings import BacktestSettings
from optimization.data.bars import BarTable

CHECKPOINTS = ".unfinished"


def write_backtest(table: BarTable, settings: BacktestSettings, out: Path, progress: Progress) -> dict[str, Any]:
    """Write ``forecasts.csv``, ``report.json`` and ``report.html`` into a folder and return the report.

    Finished parts of an interrupted run lie in a hidden folder there until the files are written.
    """
    out.mkdir(parents=True, exist_ok=True)
    result = run_backtest(table, settings, out / CHECKPOINTS, progress)
    report = score(result, table, settings)
    _write(out / "forecasts.csv", forecasts_csv(result, table))
    _write(out / "report.json", json.dumps(report, indent=2, allow_nan=False).encode() + b"\n")
    _write(out / "report.html", render_page(report, result).encode())
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return report


def _write(path: Path, content: bytes) -> None:
    half = path.with_name(f".{path.name}.half")
    with half.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)

"""Run a backtest and write its three files, each whole or not at all."""

from __future__ import annotations

import json
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
from optimization.output import write_whole, writing
from optimization.parallel import pulse

CHECKPOINTS = ".unfinished"


def write_backtest(table: BarTable, settings: BacktestSettings, out: Path, progress: Progress) -> dict[str, Any]:
    """Write ``forecasts.csv``, ``report.json`` and ``report.html`` into a folder and return the report.

    Finished parts of an interrupted run lie in a hidden folder there until the files are written.
    """
    result = run_backtest(table, settings, out / CHECKPOINTS, progress)
    with pulse(progress, "report"):
        report = score(result, table, settings)
        contents = {
            "forecasts.csv": forecasts_csv(result, table),
            "report.json": json.dumps(report, indent=2, allow_nan=False).encode() + b"\n",
            "report.html": render_page(report, result).encode(),
        }
    with writing(out):
        for name, content in contents.items():
            write_whole(out / name, content)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    return report

"""One optimisation of seconds on the first 1,000 NASDAQ bars, by the command that a user types."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from optimised_run import Optimise, Optimised

from optimization.data import write_bars
from optimization.data.bars import BarSeries, bar_table
from optimization.data.demo import demo_bars

BARS = 1000


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("optimise")
    series = demo_bars("nasdaq").series[0]
    bars = bar_table([BarSeries("", series.timestamps[:BARS], series.bars[:BARS], None)], "bars")
    write_bars(bars, str(place / "bars.csv"))
    return place


@pytest.fixture(scope="session")
def optimise(folder: Path) -> Optimise:
    """`wavecast optimise` on these bars with the shortest of budgets and further arguments."""

    def run(*arguments: str, store: str = "store") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "predictors.cli", "optimise", "--data", "bars.csv", "--store", store]
        command += ["--out", "out", "--budget", "10s", "--folds", "2", "--jobs", "1", "--latency-ratio", "1e9"]
        return subprocess.run([*command, *arguments], cwd=folder, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def optimised(folder: Path, optimise: Optimise) -> Optimised:
    """The latency gate is open: whoever tests it beside other tests measures those."""
    said = optimise("--significance", "0")
    assert said.returncode == 0, said.stderr
    return Optimised(folder, said, json.loads((folder / "out" / "optimisation.json").read_text()))

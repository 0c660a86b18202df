"""What the commands work on: real bars, and a run and a store that real commands wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import wavecast
from made_by_commands import Made

from optimization.data.bars import BarSeries, bar_table
from optimization.data.demo import demo_bars
from optimization.data.write import write_bars

BARS = 900


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file of real bars without a symbol column."""
    nasdaq = demo_bars("nasdaq").series[0]
    place = tmp_path_factory.mktemp("bars") / "bars.csv"
    write_bars(bar_table([BarSeries("", nasdaq.timestamps[:BARS], nasdaq.bars[:BARS], None)], "bars"), place)
    return place


@pytest.fixture(scope="session")
def made(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    trained = wavecast("train", "--data", bars, "--run", "run", cwd=folder)
    assert (trained.code, trained.err) == (0, "")
    assert "next: wavecast publish --run run" in trained.out
    published = wavecast("publish", "--run", "run", "--store", "store", cwd=folder)
    assert (published.code, published.err) == (0, "")
    return Made(bars, folder / "run", folder / "store")

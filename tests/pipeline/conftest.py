"""One real release, trained once and used by every test of the pipeline."""

from __future__ import annotations

import pytest
from trained_run import Trained

from optimization.data.bars import BarSeries, bar_table
from optimization.data.demo import demo_bars
from optimization.parallel import progress_bar
from optimization.train.run import TrainSettings, train_run

TRAINING_BARS = 1100


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    nasdaq = demo_bars("nasdaq").series[0]
    table = bar_table(
        [BarSeries("", nasdaq.timestamps[:TRAINING_BARS], nasdaq.bars[:TRAINING_BARS], None)], "nasdaq.csv"
    )
    run = tmp_path_factory.mktemp("trained") / "run"
    return Trained(run, table, train_run(table, TrainSettings(), run, progress_bar(enabled=False)))

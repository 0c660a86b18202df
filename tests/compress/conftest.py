"""A real run on the last 1,200 bars of NASDAQ, with members small enough to be trained in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from optimization.data.bars import BarSeries, BarTable, bar_table
from optimization.parallel import progress_bar
from optimization.rows import Rows, make_rows
from optimization.train.recipe import Recipe
from optimization.train.run import TrainSettings, train_run
from optimization.train.trained import TRAINED, Trained
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

SETTINGS: dict[str, dict[str, Any]] = {
    "lstm": {"network": {"width": 8, "seeds": 2}, "training": {"epochs": 4, "warm_epochs": 2}},
    "transformer": {"network": {"seeds": 2}, "training": {"epochs": 2, "warm_epochs": 1}},
    "xgboost": {"rounds": 20},
}


@pytest.fixture(scope="session")
def table(nasdaq_bars: NDArray[np.float64]) -> BarTable:
    """One series of 1,200 daily bars."""
    days = np.arange(1200, dtype=np.int64) * 86_400_000_000_000
    return bar_table([BarSeries("", days, np.ascontiguousarray(nasdaq_bars[-1200:]), None)], "nasdaq")


@pytest.fixture(scope="session")
def rows(table: BarTable) -> Rows:
    """All origins of the table."""
    return make_rows(table, FeatureSpec(), series_features)


@pytest.fixture(scope="session")
def run(table: BarTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `wavecast train` leaves; not to be altered."""
    folder = tmp_path_factory.mktemp("compress") / "run"
    recipes = tuple(Recipe(kind, FeatureSpec(), settings, {}) for kind, settings in SETTINGS.items())
    with progress_bar(enabled=False) as progress:
        train_run(table, TrainSettings(seed=1, recipes=recipes), folder, progress)
    return folder


@pytest.fixture(scope="session")
def members(run: Path) -> dict[str, Trained]:
    """The trained members, restored from their sidecars."""
    return {
        folder.parent.name: Trained.from_bytes((folder / TRAINED).read_bytes(), folder.name)
        for folder in (run / "models").glob("*/*")
    }

"""What training must refuse: features that look ahead, exports that differ, places that are not a run's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import optimization.backtest.engine
import optimization.train.run
from optimization.backtest.engine import run_backtest
from optimization.backtest.settings import BacktestSettings
from optimization.data.bars import BarSeries, BarTable, bar_table
from optimization.data.demo import demo_bars
from optimization.parallel import progress_bar
from optimization.rows import make_rows
from optimization.train.learner import Fitted, Learner
from optimization.train.members import LEARNERS
from optimization.train.run import TrainSettings, check_place, train_member, train_run
from optimization.walkforward import Schedule
from predictors.core.errors import InvalidInput, LeakError, WavecastError
from predictors.core.features import FeatureBlock
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec


@pytest.fixture(scope="module")
def table() -> BarTable:
    nasdaq = demo_bars("nasdaq").series[0]
    return bar_table([BarSeries("", nasdaq.timestamps[:800], nasdaq.bars[:800], None)], "nasdaq.csv")


def standardised_over_the_file(bars: NDArray[np.float64], spec: FeatureSpec) -> FeatureBlock:
    """The classic: every column scaled by the mean and spread of the whole history."""
    block = series_features(bars, spec)
    tabular = (block.tabular - block.tabular.mean(axis=0)) / (1.0 + block.tabular.std(axis=0))
    return replace(block, tabular=tabular)


def reversed_transform(bars: NDArray[np.float64], spec: FeatureSpec) -> FeatureBlock:
    """A smooth that runs over the whole file from its end: the wavelet transform of the full series in small."""
    block = series_features(bars, spec)
    sequence = block.sequence.copy()
    sequence[:, -1, 0] = np.cumsum(sequence[::-1, -1, 0])[::-1]
    return replace(block, sequence=sequence)


LEAKS = [
    (standardised_over_the_file, f"feature '{FeatureSpec().columns[0]}' at bar 127 .* looks ahead"),
    (reversed_transform, f"feature '{FeatureSpec().channels[0]}' .* at bar 127 .* looks ahead"),
]


@pytest.mark.parametrize(("leak", "message"), LEAKS)
def test_a_transform_of_the_full_series_stops_training_and_backtest_before_any_fit(
    leak: object, message: str, table: BarTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (optimization.train.run, optimization.backtest.engine):
        monkeypatch.setattr(module, "run_tasks", lambda *_: pytest.fail("a fit was begun on leaking features"))
    progress = progress_bar(enabled=False)
    with pytest.raises(LeakError, match=message):
        train_run(table, TrainSettings(), tmp_path / "run", progress, leak)  # type: ignore[arg-type]
    settings = BacktestSettings(start="2001-06-01")
    with pytest.raises(LeakError, match=message):
        run_backtest(table, settings, tmp_path / "out" / "parts", progress, leak)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True, slots=True)
class _Shifted:
    """A real fit whose exported graph is not what it forecasts itself."""

    fitted: Fitted

    def residual(self, tabular: NDArray[np.float32], sequence: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.fitted.residual(tabular, sequence) + np.float32(1e-3)

    def graph(self) -> onnx.GraphProto:
        return self.fitted.graph()


@dataclass(frozen=True, slots=True)
class _ShiftedLearner:
    learner: Learner

    @property
    def kind(self) -> str:
        return self.learner.kind

    @property
    def share(self) -> tuple[float, ...]:
        return self.learner.share

    @property
    def refit_every(self) -> int:
        return self.learner.refit_every

    def fit(
        self,
        tabular: NDArray[np.float32],
        sequence: NDArray[np.float32],
        residual: NDArray[np.float64],
        seed: int,
        previous: Fitted | None = None,
    ) -> _Shifted:
        return _Shifted(self.learner.fit(tabular, sequence, residual, seed, None))


def test_an_export_that_differs_from_what_was_trained_is_refused(table: BarTable) -> None:
    rows = make_rows(table, FeatureSpec(), series_features)
    learner = _ShiftedLearner(LEARNERS["xgboost"])
    with pytest.raises(WavecastError, match="xgboost: the exported model differs from the trained one by 0.000"):
        train_member(rows, FeatureSpec(), learner, Schedule(798, 66), 0, advance=lambda: None)  # type: ignore[arg-type]


def test_only_a_run_is_ever_replaced(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInput, match="is not a run that 'wavecast train' wrote, so it is not replaced"):
        check_place(home, overwrite=True)
    with pytest.raises(InvalidInput, match="is not a run"):
        check_place(home / "thesis.tex", overwrite=True)
    (home / "thesis.tex").unlink()
    check_place(home, overwrite=True)
    with pytest.raises(InvalidInput, match="exists; name another, or pass --overwrite"):
        check_place(home, overwrite=False)


@pytest.mark.parametrize("bars_per_year", [0.0, -252.0, float("nan"), float("inf")])
def test_bars_per_year_must_be_a_number_that_annualises(table: BarTable, tmp_path: Path, bars_per_year: float) -> None:
    with pytest.raises(InvalidInput, match="--bars-per-year is .*; it must be > 0 and finite"):
        train_run(table, TrainSettings(bars_per_year=bars_per_year), tmp_path / "run", progress_bar(enabled=False))
    assert list(tmp_path.iterdir()) == []

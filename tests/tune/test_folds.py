"""Folds lie in order of time, learn from what had matured, and never see a bar from tune_until on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from changed_bars import changed_after
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from optimization.data.bars import BarTable
from optimization.rows import make_rows
from optimization.train.xgboost import XGBOOST
from optimization.tune.early_stopping import HELD_OUT_SHARE, stopped
from optimization.tune.folds import (
    FEWEST_FOLD_BARS,
    FIRST_TEST_BAR,
    Fold,
    before,
    make_folds,
    most_folds,
    plan_blocks,
    timeline,
    tuning_end,
)
from optimization.tune.search import make_objective
from optimization.tune.spaces import MEMBER_SPACES
from predictors.core.errors import DataError, InvalidInput, WavecastError
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

SPEC = FeatureSpec()
END = 840
BLOCKS = plan_blocks(END, 2)


@pytest.fixture(scope="module")
def folds(table: BarTable) -> list[Fold]:
    seen = before(table, tuning_end(table, None))
    return make_folds(make_rows(seen, SPEC, series_features), SPEC, BLOCKS)


@given(bars=st.integers(0, 10_000), count=st.integers(1, 12))
def test_blocks_are_consecutive_and_end_with_the_bars_that_may_be_seen(bars: int, count: int) -> None:
    if count > most_folds(bars):
        with pytest.raises(DataError, match=f"{bars} bars before tune_until are too few for {count} folds"):
            plan_blocks(bars, count)
        return
    blocks = plan_blocks(bars, count)
    assert len(blocks) == count
    assert blocks[0][0] >= FIRST_TEST_BAR
    assert blocks[-1][1] == bars
    assert all(end - first >= FEWEST_FOLD_BARS for first, end in blocks)
    assert all(blocks[i][1] == blocks[i + 1][0] for i in range(count - 1))


def test_seventy_per_cent_may_be_seen_unless_a_date_says_otherwise(table: BarTable) -> None:
    stamps = timeline(table)
    assert tuning_end(table, None) == stamps[END]
    date = str(np.datetime64(int(stamps[900]), "ns").astype("datetime64[D]"))
    assert tuning_end(table, date) == stamps[900]
    assert len(before(table, int(stamps[900])).series[0].bars) == 900


@pytest.mark.parametrize("date", ["soon", "1990-01-01", "2018-01-01"])
def test_a_date_that_leaves_too_little_is_refused(date: str, table: BarTable) -> None:
    with pytest.raises(InvalidInput, match=f"--tune-until '?{date}"):
        tuning_end(table, date)


@given(place=st.integers(END, 1199), factor=st.floats(0.2, 5.0))
@settings(max_examples=3)
def test_bars_from_tune_until_on_change_no_loss(place: int, factor: float, table: BarTable) -> None:
    def loss(bars: BarTable) -> float:
        seen = before(bars, tuning_end(bars, None))
        objective = make_objective("xgboost", seen, SPEC, BLOCKS, seed=0)
        return objective(FixedTrial(dict(MEMBER_SPACES["xgboost"].defaults)))  # type: ignore[arg-type]  # a trial

    changed = changed_after(table, place, factor)
    assert changed.fingerprint != table.fingerprint
    assert loss(changed) == loss(table)


def test_a_bar_before_tune_until_changes_the_loss(table: BarTable, folds: list[Fold]) -> None:
    """Or the test above could not fail."""
    changed = before(changed_after(table, END - 10, 2.0), tuning_end(table, None))
    again = make_folds(make_rows(changed, SPEC, series_features), SPEC, BLOCKS)
    assert (again[-1].reference != folds[-1].reference).all()


def test_a_fold_learns_only_from_targets_that_matured_before_its_block(folds: list[Fold]) -> None:
    for (first, end), fold in zip(BLOCKS, folds, strict=True):
        known = np.isfinite(fold.residual)
        assert (fold.past.matured[known] <= first).all()
        assert (fold.past.matured[known] == first).any(), "the last matured row is left out"
        assert fold.test.origin[0] == first
        assert fold.test.origin[-1] == end - 1
        scored = np.isfinite(fold.test.realised)
        assert (fold.test.matured[scored] < END).all()


def test_the_backbone_alone_has_loss_one(folds: list[Fold]) -> None:
    assert [fold.relative(fold.linear) for fold in folds] == [1.0, 1.0]
    better = np.where(np.isfinite(folds[0].test.log_target), folds[0].test.log_target, folds[0].linear)
    assert folds[0].relative(better) < 0.5


def test_early_stopping_purges_the_rows_whose_target_reaches_the_held_out_part(folds: list[Fold]) -> None:
    fold = folds[-1]
    begin = fold.past.origin[int((1.0 - HELD_OUT_SHARE) * len(fold.past))]
    reaching = (fold.past.origin < begin)[:, None] & (fold.past.matured > begin)
    assert reaching[:, 1].sum() == 4
    poisoned = replace(fold, residual=np.where(reaching, 1e3, fold.residual))
    found = stopped(XGBOOST, fold, seed=0)
    assert stopped(XGBOOST, poisoned, seed=0) == found
    assert found != XGBOOST
    assert stopped(XGBOOST, replace(fold, residual=np.roll(fold.residual, 50, axis=0)), seed=0) != found


def test_a_nan_is_no_loss(folds: list[Fold]) -> None:
    broken = folds[0].linear.copy()
    broken[3, 1] = np.nan
    with pytest.raises(WavecastError, match="the loss is NaN"):
        folds[0].losses(broken)
    unknown = replace(folds[0].test, realised=np.full_like(folds[0].test.realised, np.nan))
    with pytest.raises(WavecastError, match="no realised variance to score"):
        replace(folds[0], test=unknown).losses(folds[0].linear)

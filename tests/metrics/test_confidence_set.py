"""The model confidence set keeps what cannot be told from the best and drops what can."""

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import MCS
from numpy.typing import NDArray

from optimization.metrics.confidence_set import model_confidence_set
from predictors.core.errors import InvalidInput


def losses(n: int = 400) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(2)
    common = rng.chisquare(2, n)
    return {
        name: common + shift + 0.5 * rng.standard_normal(n)
        for name, shift in (("poor", 0.5), ("good", 0.0), ("also good", 0.0), ("bad", 2.0))
    }


def test_models_clearly_worse_than_the_best_leave_and_the_best_stays() -> None:
    result = model_confidence_set(losses(), seed=1)
    assert result.included == ("good", "also good")
    assert result.p_values["bad"] <= result.p_values["poor"] <= 0.10
    assert max(result.p_values.values()) == 1.0


def test_p_values_are_archs_at_block_root_n() -> None:
    table = np.column_stack([losses()[name] for name in sorted(losses())])
    oracle = MCS(table, 0.10, reps=1000, block_size=20, method="R", seed=7)
    oracle.compute()
    result = model_confidence_set(losses(), seed=7)
    for column, name in enumerate(sorted(losses())):
        assert result.p_values[name] == pytest.approx(oracle.pvalues.loc[column, "Pvalue"], abs=0.003)


def test_the_seed_fixes_the_result_and_the_order_of_the_models_does_not_matter() -> None:
    once = model_confidence_set(losses(), seed=3)
    again = model_confidence_set(dict(reversed(losses().items())), seed=3)
    assert once.p_values == again.p_values
    assert once.p_values != model_confidence_set(losses(), seed=4).p_values


def test_models_with_equal_losses_share_their_fate() -> None:
    plus = {**losses(), "good again": losses()["good"], "bad again": losses()["bad"]}
    result = model_confidence_set(plus, seed=1)
    assert result.included == ("good", "also good", "good again")
    assert result.p_values["bad again"] == result.p_values["bad"]
    alone = model_confidence_set({"a": np.ones(9), "b": np.ones(9)}, seed=1)
    assert alone.included == ("a", "b")


def test_origins_without_all_losses_are_left_out() -> None:
    holed = losses(401)
    kept = {name: x[:-1].copy() for name, x in holed.items()}
    holed["bad"][-1] = np.nan
    assert model_confidence_set(holed, seed=1) == model_confidence_set(kept, seed=1)
    with pytest.raises(InvalidInput, match="no origin has losses of all 2 models"):
        model_confidence_set({"a": np.array([1.0, np.nan]), "b": np.array([np.nan, 1.0])}, seed=1)

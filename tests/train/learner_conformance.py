"""Laws that every residual learner obeys; a new learner inherits them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from training_rows import TrainingRows

from optimization.train.export import export_member
from optimization.train.learner import Fitted, Learner
from optimization.train.members import LEARNERS
from predictors.core.artifact import KINDS
from predictors.members.onnx_member import OnnxMember

FEW = slice(0, 400)


def graph_bytes(fitted: Fitted) -> bytes:
    """What of a fit is published."""
    return bytes(fitted.graph().SerializeToString(deterministic=True))


class LearnerConformance:
    """Subclass it once per learner and name the learner."""

    learner: Learner

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, training_rows: TrainingRows) -> Fitted:
        """One fit that the tests share."""
        return training_rows.fit(cls.learner, FEW)

    def test_is_registered_under_a_kind_of_the_release(self) -> None:
        assert LEARNERS[self.learner.kind] is self.learner
        assert self.learner.kind in KINDS

    def test_keeps_a_part_of_each_horizons_residual(self, training_rows: TrainingRows) -> None:
        assert len(self.learner.share) == training_rows.residual.shape[1]
        assert all(0.0 < share < 1.0 for share in self.learner.share)

    @pytest.mark.parametrize("batch", [1, 1000])
    def test_exported_member_answers_as_the_trained_model_on_1000_real_windows(
        self, training_rows: TrainingRows, fitted: Fitted, batch: int
    ) -> None:
        tabular, sequence = training_rows.tabular[-1000:], training_rows.sequence[-1000:]
        share = np.array(self.learner.share)
        member = OnnxMember(export_member(training_rows.backbone, fitted.graph(), share))
        exported = (member.log_variance_each if batch == 1 else member.log_variance)(tabular, sequence)
        residual = fitted.residual(tabular, sequence)
        assert residual.dtype == np.float32
        assert residual.shape == (1000, 2)
        assert residual.std(axis=0).min() > 0.01, "nothing was learned, so nothing is compared"
        np.testing.assert_allclose(
            exported, training_rows.backbone.log_variance(tabular) + share * residual, rtol=0.0, atol=1e-5
        )

    def test_equal_rows_and_seed_give_equal_bytes(self, training_rows: TrainingRows, fitted: Fitted) -> None:
        assert graph_bytes(training_rows.fit(self.learner, FEW)) == graph_bytes(fitted)

    def test_another_seed_gives_another_model(self, training_rows: TrainingRows, fitted: Fitted) -> None:
        assert graph_bytes(training_rows.fit(self.learner, FEW, seed=2)) != graph_bytes(fitted)

    def test_global_random_state_and_threads_neither_matter_nor_move(
        self, training_rows: TrainingRows, fitted: Fitted
    ) -> None:
        threads, torch_state = torch.get_num_threads(), torch.get_rng_state()
        numpy_state = np.random.get_state(legacy=False)
        try:
            torch.set_num_threads(threads + 1)
            torch.manual_seed(99)
            np.random.seed(99)
            before = torch.get_rng_state()
            again = training_rows.fit(self.learner, FEW)
            assert torch.get_num_threads() == threads + 1
            assert torch.equal(torch.get_rng_state(), before)
        finally:
            torch.set_num_threads(threads)
            torch.set_rng_state(torch_state)
            np.random.set_state(numpy_state)
        assert graph_bytes(again) == graph_bytes(fitted)

    def test_where_the_rows_lie_in_memory_does_not_matter(self, training_rows: TrainingRows, fitted: Fitted) -> None:
        """Bars after the last row lengthen the arrays and move the rows; they must not change the model."""
        again = self.learner.fit(
            _moved(training_rows.tabular[FEW]),
            _moved(training_rows.sequence[FEW]),
            _moved(training_rows.residual[FEW]),
            1,
        )
        assert graph_bytes(again) == graph_bytes(fitted)

    def test_unknown_targets_are_left_out_rather_than_taken_for_zero(self, training_rows: TrainingRows) -> None:
        planted = training_rows.planted()
        residual = planted.residual[:900].copy()
        residual[np.arange(900) % 4 > 0, 1] = np.nan
        fitted = self.learner.fit(planted.tabular[:900], planted.sequence[:900], residual, 1)
        assert planted.error(fitted, slice(900, None)) < 0.45

    def test_finds_an_effect_again_in_later_windows(self, training_rows: TrainingRows) -> None:
        planted = training_rows.planted()
        assert planted.error(planted.fit(self.learner, slice(0, 900)), slice(900, None)) < 0.5


def _moved(rows: NDArray[Any]) -> NDArray[Any]:
    """The same rows as a view of a bigger array, at addresses that no allocator would choose."""
    flat = np.zeros(rows.size + 3, rows.dtype)
    flat[3:] = rows.ravel()
    return flat[3:].reshape(rows.shape)

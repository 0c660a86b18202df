"""Laws of the residual networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learner_conformance import FEW, LearnerConformance, graph_bytes
from training_rows import TrainingRows

from optimization.train.learner import Fitted
from optimization.train.network import NetworkLearner
from predictors.core.errors import InvalidInput


class NetworkConformance(LearnerConformance):
    """Subclass it once per network."""

    learner: NetworkLearner

    def test_a_warm_start_remembers_what_its_parent_learned(self, training_rows: TrainingRows) -> None:
        planted, few, later = training_rows.planted(), slice(0, 128), slice(900, None)
        parent = planted.fit(self.learner, slice(0, 900))
        before = graph_bytes(parent)
        warm = planted.error(planted.fit(self.learner, few, previous=parent), later)
        assert warm < 0.5 * planted.error(planted.fit(self.learner, few), later)
        assert graph_bytes(parent) == before, "the warm start altered the fit that it began from"

    def test_a_warm_start_is_reproducible(self, training_rows: TrainingRows, fitted: Fitted) -> None:
        one, other = (graph_bytes(training_rows.fit(self.learner, FEW, previous=fitted)) for _ in range(2))
        assert one == other

    def test_bars_before_those_that_it_reads_do_not_matter(self, training_rows: TrainingRows, fitted: Fitted) -> None:
        changed = training_rows.sequence[:50].copy()
        changed[:, : -self.learner.network.bars] += 1.0
        expected = fitted.residual(training_rows.tabular[:50], training_rows.sequence[:50])
        np.testing.assert_array_equal(fitted.residual(training_rows.tabular[:50], changed), expected)

    def test_too_short_a_sequence_is_refused(self, training_rows: TrainingRows) -> None:
        short = training_rows.sequence[:, :8]
        with pytest.raises(InvalidInput, match=rf"{self.learner.kind}: the sequence block has 8 bars"):
            self.learner.fit(training_rows.tabular[FEW], short[FEW], training_rows.residual[FEW], 1)

    def test_a_new_network_is_the_backbone(self) -> None:
        start = self.learner.network.start(16, 2, torch.Generator().manual_seed(1))
        assert not start["head"].any()
        assert not start["head_bias"].any()

"""The boosted residual."""

from __future__ import annotations

import numpy as np
from learner_conformance import FEW, LearnerConformance
from onnx import helper
from training_rows import TrainingRows

from optimization.train.export import export_member
from optimization.train.xgboost import XGBOOST
from predictors.members.onnx_member import OnnxMember


class TestXgboost(LearnerConformance):
    learner = XGBOOST

    def test_a_value_on_a_threshold_goes_the_same_way_in_both(self, training_rows: TrainingRows) -> None:
        """Rows are put on each threshold of the trees in turn, one column at a time."""
        fitted = self.learner.fit(
            training_rows.tabular[FEW], training_rows.sequence[FEW], training_rows.residual[FEW], 1
        )
        trees = {entry.name: helper.get_attribute_value(entry) for entry in fitted.graph().node[0].attribute}
        splits = [
            (column, value)
            for column, value, mode in zip(
                trees["nodes_featureids"], trees["nodes_values"], trees["nodes_modes"], strict=True
            )
            if mode != b"LEAF"
        ]
        tabular = np.repeat(training_rows.tabular[700:701], len(splits), axis=0)
        for row, (column, value) in enumerate(splits):
            tabular[row, column] = value
        sequence = training_rows.sequence[: len(splits)]
        member = OnnxMember(export_member(training_rows.backbone, fitted.graph(), np.ones(2)))
        expected = training_rows.backbone.log_variance(tabular) + fitted.residual(tabular, sequence)
        np.testing.assert_allclose(member.log_variance(tabular, sequence), expected, rtol=0.0, atol=1e-5)

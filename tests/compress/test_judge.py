"""What a walk is worth, whatever the member itself looks like after it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from optimization.compress.gates import GateSettings
from optimization.compress.judge import judge
from optimization.compress.reference import reference_learner, reference_model
from optimization.parallel import Arrays
from optimization.rows import Rows
from optimization.train.network import NetworkLearner, NetworkResidual
from optimization.train.trained import Trained
from predictors.members.onnx_member import OnnxMember

GATES = GateSettings(latency_ratio=1e9)


def walked(member: Trained, rows: Rows, harm: float) -> Arrays:
    """A step that left the member as it was, and made the forecasts of its folds worse by ``harm``."""
    forecasts = member.backbone.log_variance(rows.tabular)
    noise = harm * np.random.default_rng(0).standard_normal(forecasts.shape)
    model, trained = np.frombuffer(member.model(), np.uint8), np.frombuffer(member.to_bytes(), np.uint8)
    return {
        "log_variance": np.stack([forecasts, forecasts + noise]),
        **{f"model_{place}": model for place in range(2)},
        **{f"trained_{place}": trained for place in range(2)},
    }


def test_a_step_that_harms_the_folds_alone_is_refused(members: dict[str, Trained], rows: Rows) -> None:
    member = members["xgboost"]
    step = judge("xgboost", ("early-stop",), walked(member, rows, harm=0.5), rows, GATES).steps[1]
    assert not step.model_changed
    assert {verdict.gate for verdict in step.verdicts if not verdict.passed} >= {"qlike_h1_vs_parent"}


def test_a_step_that_changes_nothing_is_put_to_no_gate(members: dict[str, Trained], rows: Rows) -> None:
    member = members["xgboost"]
    assert judge("xgboost", ("early-stop",), walked(member, rows, harm=0.0), rows, GATES).steps[1].verdicts == []


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_the_reference_answers_the_same_in_training_and_as_onnx(
    members: dict[str, Trained], rows: Rows, kind: str
) -> None:
    learner = reference_learner(kind)
    assert isinstance(learner, NetworkLearner)
    own = members[kind].fitted
    assert isinstance(own, NetworkResidual)
    parameters = learner.network.start(len(own.mean), 2, torch.Generator().manual_seed(1))
    parameters["head"] = torch.randn(parameters["head"].shape, generator=torch.Generator().manual_seed(2))
    member = Trained(learner, members[kind].backbone, NetworkResidual(learner.network, parameters, own.mean, own.scale))
    few = rows.take(np.arange(20))
    written = OnnxMember(member.model()).log_variance_each(few.tabular, few.sequence)
    np.testing.assert_allclose(written, member.log_variance(few.tabular, few.sequence), atol=1e-5)


def test_the_reference_is_of_the_size_that_is_compared_with(members: dict[str, Trained]) -> None:
    """An LSTM of 64 units: 4 x 64 x (16 channels + 64 + 1) weights; two blocks of width 64: about 33,000 each."""
    for kind, weights in (("lstm", 4 * 64 * (16 + 64 + 1)), ("transformer", 2 * 33_000)):
        model = reference_model(members[kind])
        assert model is not None
        assert 4 * weights < len(model) < 4.6 * weights
    assert reference_model(members["xgboost"]) is None

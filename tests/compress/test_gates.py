"""What the gates let through, and what they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from optimization.compress.gates import GateRefused, GateSettings, Verdict, fidelity_gates, loss_gates, refuse
from optimization.metrics.losses import qlike
from optimization.rows import Rows
from optimization.train.export import export_member
from optimization.train.network import NetworkLearner, NetworkResidual
from optimization.train.trained import Trained
from predictors.members.onnx_member import OnnxMember

GATES = GateSettings()
DAYS = np.arange(2000, dtype=np.int64)


def failed(verdicts: list[Verdict]) -> list[str]:
    return [verdict.gate for verdict in verdicts if not verdict.passed]


def losses(seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).gamma(0.5, 0.5, (2000, 1))


def test_a_saturated_network_can_lose_less_and_is_refused_for_its_fidelity(
    rows: Rows, members: dict[str, Trained]
) -> None:
    """Sums that saturate act like weights that are cut off: what the network overfitted shrinks, and the loss too."""
    lstm = members["lstm"]
    past = rows.matured_by(700)
    residual = lstm.backbone.log_variance(past.tabular)
    noise = np.random.default_rng(0).normal(0.0, 1.0, residual.shape)
    assert isinstance(lstm.learner, NetworkLearner)
    overfitting = replace(lstm.learner, training=replace(lstm.learner.training, epochs=40, dropout=0.0))
    fitted = overfitting.fit(past.tabular, past.sequence, noise, 1)
    assert isinstance(fitted, NetworkResidual)
    head = fitted.parameters["head"]
    most = 0.3 * float(head.abs().max())
    saturated = replace(fitted, parameters={**fitted.parameters, "head": head.clamp(-most, most)})

    def answers(one: NetworkResidual) -> NDArray[np.float64]:
        member = OnnxMember(export_member(lstm.backbone, one.graph(), np.ones(2)))
        return member.log_variance_each(rows.tabular, rows.sequence)

    backbone = lstm.backbone.log_variance(rows.tabular)
    before, after = answers(fitted), answers(saturated)
    scored = (rows.origin > 700) & np.isfinite(rows.log_target).all(axis=1)
    realised = np.exp(rows.log_target[scored])
    errors = [(rows.log_target - values)[scored] for values in (before, after)]
    lost = [qlike(realised, realised * np.exp(-e) * np.mean(np.exp(e - e.mean(axis=0)), axis=0)) for e in errors]
    assert (lost[1].mean(axis=0) < lost[0].mean(axis=0)).all()
    assert failed(loss_gates(lost[1], lost[0], rows.timestamps[scored], (1, 5), "parent", GATES)) == []
    assert "fidelity_residual" in failed(fidelity_gates(before, after, backbone, GATES))


def test_losing_half_of_the_residual_is_nothing_beside_the_whole_and_refused_all_the_same() -> None:
    draw = np.random.default_rng(0)
    backbone = draw.normal(0.0, 1.0, (1000, 2))
    residual = draw.normal(0.0, 0.04, (1000, 2))
    verdicts = fidelity_gates(backbone + residual, backbone + 0.5 * residual, backbone, GATES)
    assert failed(verdicts) == ["fidelity_residual"]
    assert verdicts[0].value == pytest.approx(0.5, rel=0.01)
    assert verdicts[1].value == pytest.approx(0.02, rel=0.05)


def test_the_worse_horizon_decides_the_fidelity() -> None:
    before = np.random.default_rng(0).normal(0.0, 1.0, (1000, 2))
    after = before + np.array([0.0, 0.5])
    assert failed(fidelity_gates(before, after, np.zeros((1000, 2)), GATES)) == ["fidelity_residual", "fidelity_whole"]
    assert failed(fidelity_gates(before, before, np.zeros((1000, 2)), GATES)) == []


def test_the_very_same_answers_of_a_residual_that_adds_nothing_pass() -> None:
    same = np.ones((100, 2))
    assert failed(fidelity_gates(same, same, same, GATES)) == []
    assert "fidelity_residual" in failed(fidelity_gates(same, same + 1e-3, same, GATES))


def test_a_loss_over_one_percent_is_refused_even_if_chance_could_explain_it() -> None:
    worse = losses() + np.random.default_rng(1).normal(0.0, 5.0, (2000, 1))
    worse += 1.02 * losses().mean() - worse.mean()
    assert failed(loss_gates(worse, losses(), DAYS, (1,), "parent", GATES)) == ["qlike_h1_vs_parent"]


def test_a_loss_within_one_percent_is_refused_if_it_is_surely_worse() -> None:
    assert failed(loss_gates(1.005 * losses(), losses(), DAYS, (1,), "parent", GATES)) == ["dm_p_h1_vs_parent"]


def test_an_equal_or_smaller_loss_passes() -> None:
    assert failed(loss_gates(losses(), losses(), DAYS, (1,), "parent", GATES)) == []
    assert failed(loss_gates(0.9 * losses(), losses(), DAYS, (1,), "parent", GATES)) == []


def test_what_is_not_a_number_passes_no_gate() -> None:
    assert not Verdict("loss", float("nan"), 1.0).passed
    assert not Verdict("p", float("nan"), 0.05, floor=True).passed


def test_a_refusal_names_the_gate_the_value_and_the_limit_and_is_exit_code_3() -> None:
    verdicts = [Verdict("batch", 0.5, 1e-6), Verdict("size_ratio", 0.5, 1.0)]
    with pytest.raises(GateRefused, match="lstm: step 'int8' is refused.*batch is 0.5, at most 1e-06 is allowed$") as e:
        refuse("lstm", "int8", verdicts)
    assert e.value.exit_code == 3
    refuse("lstm", "int8", verdicts[1:])

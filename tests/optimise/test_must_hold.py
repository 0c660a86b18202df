"""Which figures must hold, each just met and just missed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from optimization.compress.gates import GateSettings
from optimization.optimise.must_hold import must_hold

Report = dict[str, Any]


def member(size: int, reference: dict[str, Any]) -> dict[str, Any]:
    """Two steps and a reference of 1,000 bytes, 100 µs and loss 1."""
    last = {"size_bytes": size, "latency_us": {"1": [80.0, 80.0, 80.0]}, "latency_vs_reference": 0.8}
    steps = [{"size_bytes": 2000, "qlike": [1.0, 1.0]}, last | {"qlike": [1.01, 1.01]}]
    return {"steps": steps, "reference": {"size_bytes": 1000} | reference}


def outcome(horizon: int, ratio: float, p_less: float) -> dict[str, Any]:
    return {"horizon": horizon, "default": 1.0, "tuned": ratio, "p_less": p_less, "t": 0.0}


@pytest.fixture
def report() -> Report:
    """Every figure at its bound."""
    network = member(400, {"latency_us": {"1": [100.0] * 3}, "qlike": [1.0, 1.0], "member_qlike": [1.01, 1.01]})
    equal = [{"gate": f"dm_p_h{h}_vs_equal_weights", "value": 0.05} for h in (1, 5)]
    return {
        "compressed": {
            "members": {"lstm": network, "transformer": copy.deepcopy(network), "xgboost": member(200, {})},
            "ensemble": {
                "qlike": {"ensemble": [1.0, 1.0], "equal weights": [1.0, 1.0]},
                "verdicts": {"equal weights": [{"gate": "qlike_h1_vs_equal_weights", "value": 1.0}, *equal]},
            },
            "gates": {"significance": GateSettings().significance},
        },
        "studies": {
            "xgboost": {
                "chosen_trial": 7,
                "frontier": [
                    {"trial": 0, "latency": {"ratio": 1.0}},
                    {"trial": 7, "latency": {"ratio": 0.85}},
                ],
                "outer": [outcome(1, 1.001, 0.6), outcome(5, 0.999, 0.4)],
            }
        },
        "budget": {"budget_s": 1200.0, "spent_s": 1500.0},
    }


def missed(report: Report) -> list[str]:
    return [one.what for one in must_hold(report) if not one.met]


def test_every_figure_holds_at_its_bound(report: Report) -> None:
    assert missed(report) == []
    assert len(must_hold(report)) == 12


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (
            lambda r: r["compressed"]["members"]["lstm"]["steps"][-1].update(size_bytes=401),
            "lstm: bytes beside the reference architecture",
        ),
        (
            lambda r: r["compressed"]["members"]["transformer"]["steps"][-1].update(size_bytes=401),
            "transformer: bytes beside the reference architecture",
        ),
        (
            lambda r: r["compressed"]["members"]["lstm"]["steps"][-1].update(latency_vs_reference=0.801),
            "lstm: p50 at batch 1 beside the reference architecture",
        ),
        (
            lambda r: r["compressed"]["members"]["lstm"]["reference"].update(member_qlike=[1.0, 1.0101]),
            "lstm: QLIKE beside the trained reference",
        ),
        (
            lambda r: r["compressed"]["members"]["transformer"]["steps"][-1].update(qlike=[1.0101, 1.0]),
            "transformer: QLIKE beside its uncompressed parent",
        ),
        (
            lambda r: r["compressed"]["members"]["xgboost"]["steps"][-1].update(size_bytes=201),
            "xgboost: bytes beside its best-iteration JSON",
        ),
        (
            lambda r: r["compressed"]["members"]["xgboost"]["steps"][-1].update(qlike=[1.0101, 1.0]),
            "xgboost: QLIKE beside its uncompressed parent",
        ),
        (
            lambda r: r["studies"]["xgboost"]["frontier"][1]["latency"].update(ratio=0.851),
            "xgboost: tuned beside its default settings, outer folds",
        ),
        (
            lambda r: r["studies"]["xgboost"]["outer"][0].update(tuned=1.0011),
            "xgboost: tuned beside its default settings, outer folds",
        ),
        (
            lambda r: r["compressed"]["ensemble"]["verdicts"]["equal weights"][-1].update(value=0.049),
            "ensemble: optimised weights beside equal weights",
        ),
        (lambda r: r["budget"].update(spent_s=1501.0), "time: all stages"),
    ],
)
def test_a_figure_just_missed_is_said_and_no_other(report: Report, spoil: Callable[[Report], None], what: str) -> None:
    spoil(report)
    assert missed(report) == [what]


def test_tuned_trees_that_are_no_faster_must_lose_significantly_less_at_no_horizon_more(report: Report) -> None:
    study = report["studies"]["xgboost"]
    study["frontier"][1]["latency"]["ratio"] = 1.0
    study["outer"] = [outcome(1, 0.99, 0.04), outcome(5, 1.0, 0.5)]
    assert missed(report) == []
    for spoiled in (
        [outcome(1, 0.99, 0.06), outcome(5, 1.0, 0.5)],
        [outcome(1, 0.99, 0.04), outcome(5, 1.001, 0.5)],
    ):
        study["outer"] = spoiled
        assert missed(report) == ["xgboost: tuned beside its default settings, outer folds"]


def test_the_weights_are_said_to_be_better_worse_or_neither_at_each_horizon(report: Report) -> None:
    def said(*p: float) -> str:
        for verdict, value in zip(report["compressed"]["ensemble"]["verdicts"]["equal weights"][1:], p, strict=True):
            verdict["value"] = value
        return next(one for one in must_hold(report) if one.what.startswith("ensemble")).figure

    assert said(0.96, 0.5) == (
        "QLIKE at 1 bar 1.0000 × and significantly better (p of 'worse' 0.96); "
        "at 5 bars 1.0000 × and not significantly different (p of 'worse' 0.50)"
    )
    assert "at 5 bars 1.0000 × and significantly worse (p of 'worse' 0.04)" in said(0.96, 0.04)

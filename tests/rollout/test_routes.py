"""Whether the gateway gives the split that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from optimization.rollout.routes import split_problem
from optimization.rollout.state import Traffic

A, B = "a" * 12, "b" * 12


def route(weights: dict[str, int], observed: int = 2, **refused: str) -> dict[str, Any]:
    """An HTTPRoute of generation 2 with a rule for the header and one for the rest."""
    backends = [{"name": f"wavecast-{name}-predictor", "weight": weight} for name, weight in weights.items()]
    forced = {"matches": [{"headers": [{"name": "x-wavecast-release", "value": B}]}], "backendRefs": backends[-1:]}
    conditions = [
        {"type": kind, "status": "False" if kind in refused else "True", "observedGeneration": observed}
        | {"message": refused.get(kind, "")}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    return {
        "kind": "HTTPRoute",
        "metadata": {"name": "wavecast", "generation": 2},
        "spec": {"rules": [forced, {"matches": [{"path": {"value": "/"}}], "backendRefs": backends}]},
        "status": {"parents": [{"conditions": conditions}]},
    }


def test_a_route_that_was_taken_with_the_right_weights_is_followed() -> None:
    assert split_problem([route({A: 80, B: 20})], Traffic(A, B, 20)) is None
    assert split_problem([route({A: 4, B: 1})], Traffic(A, B, 20)) is None
    assert split_problem([route({A: 100, B: 0})], Traffic(A, B, 0)) is None
    assert split_problem([route({A: 100})], Traffic(A)) is None


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([], "the chart release has no HTTPRoute"),
        ([{**route({A: 80, B: 20}), "status": {}}], "HTTPRoute wavecast is not taken by any gateway yet"),
        ([route({A: 80, B: 20}, observed=1)], "HTTPRoute wavecast: the gateway has not seen its last change yet"),
        ([route({A: 80, B: 20}, Accepted="no listener")], "HTTPRoute wavecast is not Accepted: no listener"),
        ([route({A: 80, B: 20}, ResolvedRefs="no service")], "HTTPRoute wavecast is not ResolvedRefs: no service"),
        ([route({A: 90, B: 10})], f"gives the requests to {A} 90 %, {B} 10 %, not to {A} 80 %, {B} 20 %"),
        ([route({A: 80, B: 20}), route({A: 100})], f"gives the requests to {A} 100 %, not to"),
    ],
)
def test_why_a_split_is_not_followed_is_told(routes: list[dict[str, Any]], message: str) -> None:
    assert message in str(split_problem(routes, Traffic(A, B, 20)))

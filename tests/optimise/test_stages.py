"""Finished stages are kept, and the budget is divided by a rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimization.compress.gates import GateSettings
from optimization.optimise.budget import LEAST_S, RESERVE, WEIGHTS, study_s
from optimization.optimise.settings import OptimiseSettings
from optimization.optimise.stages import Stages


def test_a_finished_stage_is_not_done_again_and_a_failed_one_is(tmp_path: Path) -> None:
    said: list[tuple[str, bool]] = []
    stages = Stages(tmp_path, lambda name, took: said.append((name, took is not None)))

    def fails() -> dict[str, int]:
        raise ValueError

    with pytest.raises(ValueError):
        stages.run("a", fails)
    assert stages.run("a", lambda: {"found": 1}) == {"found": 1}
    assert stages.run("a", fails) == {"found": 1} == stages.result("a")
    assert said == [("a", False), ("a", False), ("a", True)]
    assert list(stages.seconds("a", "b")) == ["a"]


@given(st.floats(60.0, 1e5), st.lists(st.floats(0.5, 1.5), min_size=4, max_size=4))
def test_studies_that_take_what_they_are_given_leave_the_reserve(budget: float, pace: list[float]) -> None:
    """Whatever one takes too long or leaves over, the last of them ends where the reserve begins."""
    spent = 0.0
    for kind, factor in zip(list(WEIGHTS)[:-1], pace, strict=False):
        spent += factor * study_s(budget, spent, kind)
    last = study_s(budget, spent, list(WEIGHTS)[-1])
    assert last == pytest.approx(max(budget * (1.0 - RESERVE) - spent, LEAST_S))


def test_what_decides_the_members_is_in_the_key_and_what_does_not_is_not() -> None:
    settings = OptimiseSettings("bars.csv", "store", "out", 60.0)
    key = settings.key("f")
    for same in (
        replace(settings, jobs=7),
        replace(settings, store="s3://x/y"),
        replace(settings, storage="postgresql://"),
    ):
        assert same.key("f") == key
    for other in (replace(settings, budget_s=61.0), replace(settings, seed=1), replace(settings, proxy="parkinson")):
        assert other.key("f") != key
    assert settings.key("g") != key
    stricter = replace(settings, gates=GateSettings(loss_ratio=1.0))
    assert (stricter.key("f"), stricter.gates_key == settings.gates_key) == (key, False)

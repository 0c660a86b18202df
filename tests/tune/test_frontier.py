"""Which candidate is chosen: no worse than the default as far as the folds can show, then fast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimization.tune.frontier import Point, choose, mark
from optimization.tune.latency import CALLS, Latency, measure
from optimization.tune.picture import frontier_svg
from predictors.core.errors import WavecastError

DEFAULT: dict[str, Any] = {"rounds": 100}
STEADY = (0.0, 0.0, 0.0, 0.0)


def point(
    trial: int,
    loss: float,
    ratio: float,
    folds: tuple[float, ...] = STEADY,
    feasible: bool = True,
    size: int = 1000,
    base: str = "default",
) -> Point:
    """A candidate; trial 0 is the default."""
    recipe = DEFAULT if trial == 0 else {"rounds": trial}
    latency = Latency(20.0 * ratio, 20.0, ratio, 0.01)
    return Point(trial, base, recipe, loss, tuple(loss + f for f in folds), latency, size, feasible)


def chosen(*points: Point, searched: int = 1) -> int:
    return choose(mark(points, DEFAULT, searched), DEFAULT).trial


def test_a_faster_candidate_that_is_no_worse_replaces_the_default() -> None:
    assert chosen(point(0, 0.99, 1.0), point(1, 0.99, 0.5)) == 1


def test_a_faster_candidate_that_is_worse_does_not() -> None:
    assert chosen(point(0, 0.99, 1.0), point(1, 0.9931, 0.5)) == 0


def test_luck_does_not_replace_the_default() -> None:
    """Better on average by one lucky fold: the folds do not show that it is no worse."""
    assert chosen(point(0, 0.99, 1.0), point(1, 0.988, 0.5, (-0.045, 0.015, 0.015, 0.015))) == 0


def test_the_winner_of_many_trials_has_to_show_more_than_the_winner_of_one() -> None:
    better = point(1, 0.985, 0.5, (-0.002, 0.002, -0.001, 0.001), base="tuned")
    assert chosen(point(0, 0.99, 1.0), better) == 1
    assert chosen(point(0, 0.99, 1.0), better, searched=100) == 0
    assert chosen(point(0, 0.99, 1.0), replace(better, base="default"), searched=100) == 1


def test_a_tenth_of_the_latency_is_worth_a_twentieth_of_a_per_cent_of_the_loss() -> None:
    assert chosen(point(0, 0.9900, 1.0), point(1, 0.9880, 0.8), point(2, 0.9884, 0.7)) == 2
    assert chosen(point(0, 0.9900, 1.0), point(1, 0.9880, 0.8), point(2, 0.9886, 0.7)) == 1


def test_where_nothing_is_gained_speed_may_cost_a_little_of_the_loss() -> None:
    assert chosen(point(0, 0.9900, 1.0), point(1, 0.9904, 0.4)) == 1
    assert chosen(point(0, 0.9900, 1.0), point(1, 0.9906, 0.4)) == 0, "above the default's beyond the cost"


@given(st.lists(st.tuples(st.floats(0.98, 1.0), st.floats(0.1, 3.0)), min_size=1, max_size=12))
def test_what_is_chosen_is_never_worse_than_the_default_beyond_the_cost_of_speed(
    drawn: list[tuple[float, float]],
) -> None:
    points = mark([point(i, loss, ratio) for i, (loss, ratio) in enumerate(drawn)], DEFAULT, 1)
    assert choose(points, DEFAULT).loss <= points[0].loss * 1.0005 + 1e-12


def test_a_candidate_that_is_too_large_is_not_chosen() -> None:
    assert chosen(point(0, 0.99, 1.0), point(1, 0.98, 0.5, feasible=False)) == 0


def test_nothing_small_enough_is_an_error_that_names_the_smallest() -> None:
    points = [point(0, 0.99, 1.0, feasible=False, size=900), point(1, 0.98, 0.5, feasible=False, size=700)]
    with pytest.raises(WavecastError, match="the smallest artifact has 700 bytes: raise --max-bytes"):
        choose(mark(points, DEFAULT, 1), DEFAULT)


losses = st.floats(0.9, 1.1)
ratios = st.floats(0.1, 3.0)


@given(st.lists(st.tuples(losses, ratios, st.booleans()), min_size=1, max_size=12))
def test_the_front_is_what_no_eligible_point_beats(drawn: list[tuple[float, float, bool]]) -> None:
    points = mark([point(i, loss, ratio, feasible=small) for i, (loss, ratio, small) in enumerate(drawn)], DEFAULT, 1)
    eligible = [p for p in points if p.eligible]
    for one in points:
        beaten = any(
            p.loss <= one.loss
            and p.latency.ratio <= one.latency.ratio
            and (p.loss < one.loss or p.latency.ratio < one.latency.ratio)
            for p in eligible
        )
        assert one.efficient == (one.eligible and not beaten)
    assert any(p.efficient for p in points) == bool(eligible)


def test_the_picture_is_that_of_the_points() -> None:
    points = mark([point(i, 0.99 + 0.001 * i, 1.0 - 0.2 * i) for i in range(4)], DEFAULT, 1)
    picture = frontier_svg(points, points[0])
    assert picture == frontier_svg(points, points[0])
    for moved in (replace(points[3], loss=0.98), replace(points[3], size_bytes=1), replace(points[3], efficient=True)):
        assert frontier_svg([*points[:3], moved], points[0]) != picture
    ElementTree.fromstring(picture)  # noqa: S314 - our own
    assert ">chosen</text>" in picture, "text is text"


class _Sleeper:
    """A model that takes a given number of multiplications to answer."""

    def __init__(self, size: int) -> None:
        self.matrix = np.eye(size)
        self.calls = 0

    def log_variance(self, tabular: np.ndarray, sequence: np.ndarray) -> np.ndarray:
        self.calls += 1
        return self.matrix @ self.matrix


def test_both_models_are_measured_equally_often_and_the_ratio_says_which_is_slower() -> None:
    slow, fast = _Sleeper(200), _Sleeper(2)
    windows = np.zeros((CALLS, 3), np.float32)
    latency = measure(slow, fast, windows, windows)  # type: ignore[arg-type]  # they answer like members
    assert slow.calls == fast.calls > CALLS
    assert latency.ratio > 1.0
    assert latency.microseconds > latency.reference_microseconds

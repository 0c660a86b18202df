"""Laws of the planner, over every state that values can be in and every command."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise, product

import pytest

from optimization.rollout.diff import as_yaml
from optimization.rollout.intent import rolled_back
from optimization.rollout.plan import (
    Abort,
    AwaitReady,
    AwaitTraffic,
    Canary,
    Command,
    Promote,
    Revise,
    Rollback,
    Step,
    plan,
)
from optimization.rollout.preflight import Installed
from optimization.rollout.state import Rollout, RunningRelease, Traffic
from predictors.core.errors import InvalidInput

NAMES = tuple(f"{letter * 12}" for letter in "abcd")
RELEASES = {name: RunningRelease(name, {"lstm": name, "xgboost": name}) for name in NAMES}


PERCENTS = (0, 20, 50, 100)
"""The planner asks of a share only whether it is nothing, all, or another than before."""


def all_states() -> Iterator[Rollout]:
    """Any state: a stable release, perhaps a canary, perhaps others that an interrupted command left."""
    for names in (some for count in range(1, 5) for some in combinations(NAMES, count)):
        running = tuple(RELEASES[name] for name in names)
        for stable in names:
            yield Rollout(running, Traffic(stable))
            for canary, percent in product(names, PERCENTS):
                if canary != stable:
                    yield Rollout(running, Traffic(stable, canary, percent))


STATES = tuple(all_states())
COMMANDS: tuple[Command, ...] = (
    *(Canary(release, percent) for release in RELEASES.values() for percent in PERCENTS),
    *(Promote(name) for name in NAMES),
    *(Rollback(release) for release in RELEASES.values()),
    Abort(),
)
every_command = pytest.mark.parametrize("command", COMMANDS, ids=str)


def planned(now: Rollout, command: Command) -> list[Step]:
    """The plan, or none if the command is refused."""
    try:
        return plan(now, command)
    except InvalidInput:
        return []


def states(now: Rollout, steps: list[Step]) -> list[Rollout]:
    """Where the values are before the first step and after each."""
    found = [now]
    for step in steps:
        found.append(step.to if isinstance(step, Revise) else found[-1])
    return found


@every_command
def test_a_revision_changes_releases_or_traffic_and_never_both(command: Command) -> None:
    for now in STATES:
        for before, after in pairwise(states(now, planned(now, command))):
            assert before.releases == after.releases or before.traffic == after.traffic
        revisions = [step for step in planned(now, command) if isinstance(step, Revise)]
        assert all(
            before != after.to for before, after in zip([now, *(r.to for r in revisions)], revisions, strict=False)
        )


@every_command
def test_a_release_gets_traffic_only_when_it_runs_and_was_waited_for(command: Command) -> None:
    for now in STATES:
        ready = {name for name in now.routed if name == now.traffic.stable or now.traffic.percent > 0}
        if now.traffic.percent == 100:
            ready.discard(now.traffic.stable)
        for step in planned(now, command):
            match step:
                case AwaitReady(release):
                    assert release in now.names
                    ready.add(release)
                case Revise(to):
                    served = {to.traffic.canary} if to.traffic.percent else set()
                    served |= {to.traffic.stable} if to.traffic.percent < 100 else set()
                    assert served <= ready
                    assert set(to.routed) <= set(to.names)
                    now = to
                case AwaitTraffic(traffic):
                    assert traffic == now.traffic


@every_command
def test_what_is_removed_got_no_traffic_and_the_gateway_was_waited_for(command: Command) -> None:
    for now in STATES:
        followed = False
        for step in planned(now, command):
            if isinstance(step, AwaitTraffic):
                followed = True
            if isinstance(step, Revise):
                removed = set(now.names) - set(step.to.names)
                assert not removed & set(now.routed)
                assert followed or not removed
                followed = followed and step.to.traffic == now.traffic
                now = step.to


@every_command
def test_percents_stay_in_range_and_a_canary_is_another_release_than_stable(command: Command) -> None:
    for now in STATES:
        for state in states(now, planned(now, command)):
            assert 0 <= state.traffic.percent <= 100
            assert state.traffic.canary != state.traffic.stable
            assert state.traffic.canary or state.traffic.percent == 0
            assert len(set(state.names)) == len(state.names)


@every_command
def test_cut_off_after_any_step_the_same_command_ends_where_it_would_have_ended(command: Command) -> None:
    for now in STATES:
        steps = planned(now, command)
        end = states(now, steps)[-1]
        for middle in states(now, steps):
            if steps:
                assert states(middle, plan(middle, command))[-1] == end


@every_command
def test_what_is_done_already_is_not_done_again(command: Command) -> None:
    for now in STATES:
        steps = planned(now, command)
        end = states(now, steps)[-1]
        if steps:
            assert not [step for step in plan(end, command) if isinstance(step, Revise)]


def test_promote_and_rollback_and_abort_end_with_one_release_that_has_all_traffic() -> None:
    for now in STATES:
        for command in (
            Promote(now.traffic.canary or now.traffic.stable),
            *(Rollback(RELEASES[name]) for name in NAMES),
            Abort(),
        ):
            steps = planned(now, command)
            if steps:
                end = states(now, steps)[-1]
                assert end.names == (end.traffic.stable,)
                assert end.traffic == Traffic(end.traffic.stable)


A, B, C = (RELEASES[name] for name in NAMES[:3])


@pytest.mark.parametrize(
    ("now", "command", "message"),
    [
        (Rollout((A,), Traffic(A.name)), Canary(A, 20), "is stable already; a canary must be another release"),
        (Rollout((A,), Traffic(A.name)), Canary(B, 101), "--percent is 101; it must be from 0 to 100"),
        (Rollout((A, B), Traffic(A.name, B.name, 20)), Canary(C, 5), f"release {B.name} is the canary at 20 %"),
        (Rollout((A,), Traffic(A.name)), Promote(B.name), f"release {B.name} is not the canary"),
        (Rollout((A, B), Traffic(A.name, B.name, 5)), Promote(A.name), f"release {A.name} is not the canary"),
        (Rollout((A, B), Traffic(A.name, B.name, 5)), Rollback(B), "'wavecast release promote' makes it stable"),
    ],
)
def test_a_command_that_makes_no_sense_says_which_would(now: Rollout, command: Command, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        plan(now, command)


def test_a_canary_is_started_waited_for_and_only_then_gets_its_share() -> None:
    assert plan(Rollout((A,), Traffic(A.name)), Canary(B, 20)) == [
        Revise(Rollout((A, B), Traffic(A.name)), f"start {B.name}"),
        AwaitReady(B.name),
        Revise(Rollout((A, B), Traffic(A.name, B.name, 20)), f"traffic: {A.name} 80 %, {B.name} 20 %"),
        AwaitTraffic(Traffic(A.name, B.name, 20)),
    ]


def test_a_promotion_goes_over_all_traffic_to_stable_and_removes_last() -> None:
    both = (A, B)
    assert plan(Rollout(both, Traffic(A.name, B.name, 20)), Promote(B.name)) == [
        AwaitReady(B.name),
        Revise(Rollout(both, Traffic(A.name, B.name, 100)), f"traffic: {A.name} 0 %, {B.name} 100 %"),
        AwaitTraffic(Traffic(A.name, B.name, 100)),
        Revise(Rollout(both, Traffic(B.name)), f"{B.name} is stable"),
        AwaitTraffic(Traffic(B.name)),
        Revise(Rollout((B,), Traffic(B.name)), f"remove {A.name}"),
    ]


def test_what_the_values_hold_besides_stays_and_a_mirror_ends_with_its_canary() -> None:
    values = {
        "image": {"tag": "1"},
        "releases": [{"name": A.name, "members": dict(A.members)}, {"name": B.name, "members": dict(B.members)}],
        "traffic": {"stable": A.name, "canary": B.name, "percent": 5, "mirrorPercent": 10},
    }
    now = Rollout.of(values)
    assert Rollout.of(now.into(values)) == now
    assert now.into(values) == values
    aborted = now.with_traffic(Traffic(A.name)).into(values)
    assert aborted["image"] == {"tag": "1"}
    assert aborted["traffic"] == {"stable": A.name, "canary": "", "percent": 0}
    assert values["traffic"]["mirrorPercent"] == 10  # type: ignore[index]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"releases": []}, "no readable 'releases' and 'traffic'"),
        ({"releases": [{"name": "x"}], "traffic": {"stable": "x"}}, "no readable"),
        ({"releases": [], "traffic": {"stable": "x"}}, "give traffic to release x, which is not in 'releases'"),
    ],
)
def test_values_of_another_chart_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Rollout.of(values)


def test_before_the_first_release_there_is_nothing_to_go_back_to() -> None:
    now = Rollout((RunningRelease("b" * 12, {"lstm": "c" * 12}),), Traffic("b" * 12))
    history = Installed(2, "deployed", "wavecast-0.1.0", {1: "Install complete", 2: "Upgrade complete"}, {}, {})
    before = {1: Rollout((), Traffic("")), 2: now}
    with pytest.raises(InvalidInput, match="helm's history knows no stable release before"):
        rolled_back(now, history, before.__getitem__)


def test_versions_that_look_like_numbers_stay_text() -> None:
    """For helm's YAML, which is not Python's."""
    text = as_yaml({"name": "1234567890e1", "members": {"lstm": "018888888888"}, "registry": "localhost"})
    assert text == 'name: "1234567890e1"\nmembers:\n  lstm: "018888888888"\nregistry: localhost\n'

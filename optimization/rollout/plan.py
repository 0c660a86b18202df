"""From what runs and a command to the steps that are left: pure, so that an interrupted command is planned again.

Laws, which the tests hold over every state and command: a revision changes releases or traffic, never both; a
release gets no traffic before it runs and was waited for; nothing that the route reaches is removed; a command that
was cut off after any step ends, given again, where it would have ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from optimization.rollout.state import Rollout, RunningRelease, Traffic
from predictors.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Canary:
    """Give a release that is not stable some of the traffic, in percent; 0 starts it for the header alone."""

    release: RunningRelease
    percent: int


@dataclass(frozen=True, slots=True)
class Promote:
    """Make the canary stable, and remove what it replaced."""

    release: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """Make another release stable at once, started again if it is gone, and remove the others."""

    release: RunningRelease


@dataclass(frozen=True, slots=True)
class Abort:
    """Take the traffic from the canary and remove it."""


Command = Canary | Promote | Rollback | Abort


@dataclass(frozen=True, slots=True)
class Revise:
    """One revision of the chart: from what runs now to this."""

    to: Rollout
    why: str


@dataclass(frozen=True, slots=True)
class AwaitReady:
    """Wait until a release and its members are ready."""

    release: str


@dataclass(frozen=True, slots=True)
class AwaitTraffic:
    """Wait until the gateway follows the split."""

    traffic: Traffic


Step = Revise | AwaitReady | AwaitTraffic


def plan(now: Rollout, command: Command) -> list[Step]:
    """Steps from what runs now to what the command asks for; revisions build on one another.

    Raises
    ------
    InvalidInput
        If the command makes no sense now, saying which would.
    """
    if not now.traffic.stable:
        raise InvalidInput(
            "nothing is stable yet; the first release comes with 'helm upgrade': write it into the values 'releases' "
            "and 'traffic.stable'"
        )
    match command:
        case Canary():
            return list(_canary(now, command))
        case Promote():
            return list(_promote(now, command.release))
        case Rollback():
            return list(_rollback(now, command.release))
        case Abort():
            return list(_abort(now))


def _canary(now: Rollout, command: Canary) -> Iterator[Step]:
    name, traffic = command.release.name, now.traffic
    if not 0 <= command.percent <= 100:
        raise InvalidInput(f"--percent is {command.percent}; it must be from 0 to 100")
    if name == traffic.stable:
        raise InvalidInput(f"release {name} is stable already; a canary must be another release")
    if traffic.canary not in ("", name):
        raise InvalidInput(
            f"release {traffic.canary} is the canary at {traffic.percent} %; "
            "'wavecast release promote' or 'abort' ends that first"
        )
    if name not in now.names:
        now = now.with_release(command.release)
        yield Revise(now, f"start {name}")
    yield AwaitReady(name)
    if command.percent < 100:
        yield from _await_idle_stable(now)
    yield from _shift(now, Traffic(traffic.stable, name, command.percent))


def _promote(now: Rollout, name: str) -> Iterator[Step]:
    traffic = now.traffic
    if traffic.canary == name:
        yield AwaitReady(name)
        yield from _shift(now, Traffic(traffic.stable, name, 100))
        yield from _shift(now, Traffic(name), f"{name} is stable")
        now = now.with_traffic(Traffic(name))
    elif traffic == Traffic(name):
        yield AwaitTraffic(traffic)
    else:
        raise InvalidInput(
            f"release {name} is not the canary (traffic: {traffic}); "
            f"'wavecast release canary {name} --percent N' gives it some first"
        )
    yield from _remove_idle(now)


def _rollback(now: Rollout, release: RunningRelease) -> Iterator[Step]:
    if now.traffic.canary == release.name:
        raise InvalidInput(
            f"release {release.name} is the canary; 'wavecast release promote' makes it stable, 'abort' removes it"
        )
    if release.name not in now.names:
        now = now.with_release(release)
        yield Revise(now, f"start {release.name}")
    if release.name != now.traffic.stable:
        yield AwaitReady(release.name)
    yield from _leave_alone(now, release.name)


def _abort(now: Rollout) -> Iterator[Step]:
    yield from _leave_alone(now, now.traffic.stable)


def _leave_alone(now: Rollout, name: str) -> Iterator[Step]:
    """All traffic to one release, then nothing but it."""
    if name == now.traffic.stable:
        yield from _await_idle_stable(now)
    yield from _shift(now, Traffic(name))
    yield from _remove_idle(now.with_traffic(Traffic(name)))


def _await_idle_stable(now: Rollout) -> Iterator[Step]:
    """Stable gets nothing beside a canary that gets all, so it may have failed unseen."""
    if now.traffic.percent == 100:
        yield AwaitReady(now.traffic.stable)


def _shift(now: Rollout, traffic: Traffic, why: str = "") -> Iterator[Step]:
    if now.traffic != traffic:
        yield Revise(now.with_traffic(traffic), why or f"traffic: {traffic}")
    yield AwaitTraffic(traffic)


def _remove_idle(now: Rollout) -> Iterator[Step]:
    if now.idle:
        yield Revise(now.without_idle(), f"remove {', '.join(now.idle)}")

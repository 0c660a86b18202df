"""Waiting for a cluster: until something holds, cannot hold any more, or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from optimization.rollout.cluster import Unreachable
from optimization.rollout.observe import Observer
from optimization.rollout.state import RunningRelease, Traffic
from predictors.core.errors import NotReady

_POLL_S = 0.5
_HOPELESS_AFTER_S = 20.0
"""A pod of an earlier try may still say what its successor will not."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """What is waited for now, and whether waiting alone will not bring it."""

    why: str
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and whom to tell.

    Attributes
    ----------
    timeout_s
        Of one wait.
    settle_s
        Time that the gateway's own processes are given once its controller took a split.
    tell
        Called with what is waited for whenever that changes.
    """

    timeout_s: float
    settle_s: float
    tell: Callable[[str], None]


def await_ready(observer: Observer, release: RunningRelease, patience: Patience) -> None:
    """Wait until a release and its members are ready.

    Raises
    ------
    NotReady
        With the first thing that is not, and why.
    """

    def blocked() -> Blocked | None:
        for one in observer.health(release, observer.services()):
            if one.problem is not None:
                return Blocked(f"{one.artifact} is not ready: {one.problem}", one.problem.hopeless)
        return None

    _wait(f"release {release.name}", blocked, patience)


def await_split(observer: Observer, traffic: Traffic, patience: Patience) -> None:
    """Wait until the gateway took the split and its processes had time to follow.

    Raises
    ------
    NotReady
        If it does not.
    """

    def blocked() -> Blocked | None:
        problem = observer.split_problem(traffic)
        return None if problem is None else Blocked(problem)

    _wait(f"traffic {traffic}", blocked, patience)
    time.sleep(patience.settle_s)


def await_gone(observer: Observer, release: RunningRelease, patience: Patience) -> None:
    """Wait until nothing of a release is being removed any more.

    Raises
    ------
    NotReady
        If something stays.
    """

    def blocked() -> Blocked | None:
        leaving = observer.leaving(release)
        return Blocked(f"an earlier {leaving[0]} is still being removed") if leaving else None

    _wait(f"release {release.name}", blocked, patience)


def _wait(what: str, blocked: Callable[[], Blocked | None], patience: Patience) -> None:
    began, hopeless_since, told = time.monotonic(), None, ""
    while True:
        try:
            now = blocked()
        except Unreachable as wrong:
            now = Blocked(str(wrong))
        if now is None:
            return
        if now.why != told:
            patience.tell(now.why)
            told = now.why
        moment = time.monotonic()
        hopeless_since = (hopeless_since or moment) if now.hopeless else None
        if moment - began > patience.timeout_s:
            raise NotReady(f"{what}: waited {patience.timeout_s:g} s; {now.why}; {_NEXT}")
        if hopeless_since is not None and moment - hopeless_since > _HOPELESS_AFTER_S:
            raise NotReady(f"{what}: {now.why}; {_NEXT}")
        time.sleep(_POLL_S)


_NEXT = "traffic is as it was; the same command goes on from here, 'wavecast release abort' removes what it started"

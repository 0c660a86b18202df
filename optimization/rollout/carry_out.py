"""Commands carried out: planned from what runs now, one revision made, and planned again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimization.rollout.cluster import ClusterError
from optimization.rollout.diff import values_diff
from optimization.rollout.helm import Helm
from optimization.rollout.observe import Observer
from optimization.rollout.plan import AwaitReady, AwaitTraffic, Command, Revise, Step, plan
from optimization.rollout.preflight import Installed, read_installed
from optimization.rollout.state import Rollout, RunningRelease, Traffic
from optimization.rollout.waits import Patience, await_gone, await_ready, await_split

Show = Callable[[str, str], None]
"""Purpose and diff of a revision."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did: the last rollout, and what each revision was for."""

    rollout: Rollout
    revisions: tuple[str, ...]


def carry_out(
    helm: Helm, chart: Path, observer: Observer, command: Command, words: str, patience: Patience, show: Show
) -> Done:
    """Carry out a command to its end; whatever was done before it is not done again.

    Parameters
    ----------
    helm, chart, observer
        The chart release, its chart and its cluster.
    command
        What is asked for.
    words
        The command as helm's history shall remember it, see `optimization.rollout.intent`.
    patience
        Of the waits.
    show
        Called with the purpose and the diff of each revision, before it is made.

    Raises
    ------
    InvalidInput
        If the command makes no sense now.
    NotReady
        If something does not become ready; traffic is then as it was.
    ClusterError, HelmError
        If the cluster or helm refuses.
    """
    revisions: list[str] = []
    followed: Traffic | None = None
    while True:
        installed = read_installed(helm, change=True)
        now = Rollout.of(installed.computed)
        for step in plan(now, command):
            match step:
                case AwaitTraffic(traffic) if traffic == followed:
                    continue
                case AwaitTraffic(traffic):
                    await_split(observer, traffic, patience)
                    followed = traffic
                case AwaitReady(name):
                    await_ready(observer, _release(now, name), patience)
                case Revise(to, why):
                    for started in to.releases:
                        if started.name not in now.names:
                            await_gone(observer, started, patience)
                    changed = to.into(installed.user)
                    show(why, values_diff(now.into(installed.user), changed))
                    _still(helm, installed)
                    helm.upgrade(chart, changed, f"{words}: {why}")
                    revisions.append(why)
                    break
        else:
            return Done(now, tuple(revisions))


def preview(now: Rollout, values: Mapping[str, Any], command: Command, show: Show, tell: Callable[[str], None]) -> None:
    """Show every step that a command would take from here; nothing is waited for or changed."""
    before: Mapping[str, Any] = now.into(values)
    for step in plan(now, command):
        match step:
            case Revise(to, why):
                show(why, values_diff(before, to.into(values)))
                before = to.into(values)
            case AwaitReady(name):
                tell(f"wait until release {name} and its members are ready")
            case AwaitTraffic(traffic):
                tell(f"wait until the gateway gives {traffic}")


def next_values(
    now: Rollout, values: Mapping[str, Any], observer: Observer, command: Command, patience: Patience, show: Show
) -> dict[str, Any]:
    """Values of the next revision, for who applies them; those of now if nothing is left to do.

    Waits for what must hold before, so that the command, given again after each has been applied, is safe.

    Raises
    ------
    NotReady
        If something does not become ready.
    """
    steps: list[Step] = plan(now, command)
    for step in steps:
        match step:
            case AwaitTraffic(traffic):
                await_split(observer, traffic, patience)
            case AwaitReady(name):
                await_ready(observer, _release(now, name), patience)
            case Revise(to, why):
                changed = to.into(values)
                show(why, values_diff(now.into(values), changed))
                return changed
    return dict(values)


def _release(now: Rollout, name: str) -> RunningRelease:
    found = now.find(name)
    assert found is not None  # the planner waits only for what runs
    return found


def _still(helm: Helm, planned_from: Installed) -> None:
    """Somebody else's revision since the values were read would be undone by ours."""
    latest = helm.history()[-1]
    if latest.number != planned_from.last:
        raise ClusterError(
            f"chart release '{helm.name}' got revision {latest.number} ({latest.description}) meanwhile; "
            "look at 'wavecast release status' and run the command again"
        )

"""What helm's history remembers of commands: the target of a `promote` or `rollback` that names none."""

from __future__ import annotations

import re
from collections.abc import Callable

from optimization.rollout.plan import Abort, Canary, Command, Promote, Rollback
from optimization.rollout.preflight import Installed
from optimization.rollout.state import Rollout
from predictors.core.errors import InvalidInput

_WORDS = re.compile(r"wavecast release (promote|rollback) ([0-9a-f]{12})\b")


def words(command: Command) -> str:
    """A command as the description of a revision begins with it."""
    match command:
        case Canary(release, percent):
            return f"wavecast release canary {release.name} --percent {percent}"
        case Promote(name):
            return f"wavecast release promote {name}"
        case Rollback(release):
            return f"wavecast release rollback {release.name}"
        case Abort():
            return "wavecast release abort"


def promoted(now: Rollout, installed: Installed | None) -> str:
    """The canary; without one, the release whose promotion was the last thing done.

    Raises
    ------
    InvalidInput
        If there is neither.
    """
    if now.traffic.canary:
        return now.traffic.canary
    last = _last(installed)
    if last is not None and last == ("promote", now.traffic.stable):
        return last[1]
    idle = f"; {', '.join(now.idle)} runs without traffic" if now.idle else ""
    raise InvalidInput(
        f"there is no canary to promote (traffic: {now.traffic}){idle}; "
        "'wavecast release canary RELEASE --percent N' starts one"
    )


def rolled_back(now: Rollout, installed: Installed | None, rollout_at: Callable[[int], Rollout]) -> str:
    """What was stable before: the stable release under a canary, else the last other one of the history.

    A rollback given again means the one that was the last thing done.

    Raises
    ------
    InvalidInput
        If the history has no other.
    """
    if now.traffic.canary:
        return now.traffic.stable
    last = _last(installed)
    if last is not None and last == ("rollback", now.traffic.stable):
        return last[1]
    for number in sorted(installed.descriptions if installed else (), reverse=True):
        before = rollout_at(number).traffic.stable
        if before and before != now.traffic.stable:
            return before
    raise InvalidInput(
        f"helm's history knows no stable release before {now.traffic.stable}; name one: 'wavecast release rollback "
        "RELEASE', 'wavecast release list' shows them"
    )


def _last(installed: Installed | None) -> tuple[str, str] | None:
    if installed is None or not installed.descriptions:
        return None
    found = _WORDS.match(installed.descriptions[max(installed.descriptions)])
    return (found[1], found[2]) if found else None

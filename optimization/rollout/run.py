"""A command in one of its three forms: carried out, shown, or as the values of its next revision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from optimization.rollout.carry_out import Show, carry_out, next_values, preview
from optimization.rollout.chart import find_chart
from optimization.rollout.diff import as_yaml
from optimization.rollout.intent import words
from optimization.rollout.plan import Command, plan
from optimization.rollout.preflight import check_chart
from optimization.rollout.situation import ChangeSettings, Situation
from optimization.rollout.state import Rollout
from optimization.rollout.waits import Patience

__all__ = ["ChangeSettings", "Outcome", "run"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a command ended; ``values`` only if they were asked for."""

    rollout: Rollout
    revisions: tuple[str, ...]
    values: dict[str, Any] | None = None

    @property
    def values_text(self) -> str:
        """The values as YAML."""
        return as_yaml(self.values or {})

    def plain(self) -> dict[str, Any]:
        """As data for machines."""
        releases = {one.name: dict(one.members) for one in self.rollout.releases}
        return {"traffic": asdict(self.rollout.traffic), "releases": releases, "revisions": list(self.revisions)}


def run(now: Situation, command: Command, settings: ChangeSettings, show: Show, tell: Callable[[str], None]) -> Outcome:
    """Do what was asked.

    Parameters
    ----------
    now
        Where it starts.
    command, settings
        What was asked for.
    show, tell
        Called with each revision's purpose and diff; with what is waited for.

    Raises
    ------
    InvalidInput, NotReady, ClusterError, HelmError
        As for `optimization.rollout.carry_out.carry_out`.
    """
    patience = Patience(settings.timeout_s, settings.settle_s, lambda why: tell(f"waiting: {why}"))
    if settings.output is not None:
        values = next_values(now.rollout, now.user, now.observer, command, patience, show)
        return Outcome(now.rollout, (), values)
    if settings.dry_run or now.helm is None or now.installed is None:
        preview(now.rollout, now.user, command, show, tell)
        return Outcome(now.rollout, ())
    plan(now.rollout, command)  # what makes no sense is told before the chart is looked for
    chart = find_chart(settings.chart)
    check_chart(now.helm, chart, now.installed)
    done = carry_out(now.helm, chart, now.observer, command, words(command), patience, show)
    return Outcome(done.rollout, done.revisions)

"""What the values of a chart say: which releases run, and who gets the traffic."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self

from predictors.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class RunningRelease:
    """One entry of ``releases``: a release and the version of each of its members."""

    name: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who answers: ``percent`` of the requests go to the canary, the rest to the stable release."""

    stable: str
    canary: str = ""
    percent: int = 0

    def __str__(self) -> str:
        if not self.canary:
            return f"{self.stable} 100 %"
        return f"{self.stable} {100 - self.percent} %, {self.canary} {self.percent} %"


@dataclass(frozen=True, slots=True)
class Rollout:
    """Both parts; a revision of the chart changes one of them."""

    releases: tuple[RunningRelease, ...]
    traffic: Traffic

    @property
    def names(self) -> tuple[str, ...]:
        """Releases that run, in the order of the values."""
        return tuple(one.name for one in self.releases)

    @property
    def routed(self) -> tuple[str, ...]:
        """Releases that the route can reach, be it by the header alone."""
        return tuple(name for name in (self.traffic.stable, self.traffic.canary) if name)

    @property
    def idle(self) -> tuple[str, ...]:
        """Releases that run and that the route does not reach."""
        return tuple(name for name in self.names if name not in self.routed)

    def find(self, name: str) -> RunningRelease | None:
        """A release that runs, or ``None``."""
        return next((one for one in self.releases if one.name == name), None)

    def with_release(self, release: RunningRelease) -> Rollout:
        """The same with one more release."""
        return Rollout((*self.releases, release), self.traffic)

    def with_traffic(self, traffic: Traffic) -> Rollout:
        """The same with another split."""
        return Rollout(self.releases, traffic)

    def without_idle(self) -> Rollout:
        """The same without the releases that get no traffic."""
        return Rollout(tuple(one for one in self.releases if one.name in self.routed), self.traffic)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read the values that a chart was rendered with, its defaults included.

        Raises
        ------
        InvalidInput
            If they are not those of this chart, or name a release that does not run.
        """
        try:
            releases = tuple(RunningRelease(one["name"], dict(one["members"])) for one in values["releases"])
            split = values["traffic"]
            traffic = Traffic(split["stable"], split.get("canary") or "", int(split.get("percent") or 0))
        except (KeyError, TypeError, ValueError) as wrong:
            raise InvalidInput(
                f"the values have no readable 'releases' and 'traffic' ({wrong}); they are not those of this chart"
            ) from wrong
        rollout = cls(releases, traffic)
        lost = [name for name in rollout.routed if name not in rollout.names]
        if lost:
            raise InvalidInput(
                f"the values give traffic to release {lost[0]}, which is not in 'releases'; add it there"
            )
        return rollout

    def into(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of user-supplied values with this rollout; all else stays as it was."""
        changed = deepcopy(dict(values))
        changed["releases"] = [
            {"name": one.name, "members": dict(sorted(one.members.items()))} for one in self.releases
        ]
        split = dict(changed.get("traffic") or {})
        if not self.traffic.canary:
            split.pop("mirrorPercent", None)  # a copy of the requests needs a canary that takes it
        traffic = {"stable": self.traffic.stable, "canary": self.traffic.canary, "percent": self.traffic.percent}
        changed["traffic"] = {**split, **traffic}
        return changed

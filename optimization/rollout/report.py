"""What runs, as data and as text: the answer of `wavecast release status`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from optimization.rollout.observe import Health, Observer
from optimization.rollout.state import Rollout, RunningRelease

if TYPE_CHECKING:
    from optimization.rollout.catalogue import Shown


@dataclass(frozen=True, slots=True)
class ReleaseStatus:
    """One release that runs: ``role`` is stable, canary or idle, ``share`` its percent of the requests."""

    release: str
    role: str
    share: int
    ready: bool
    members: dict[str, str]
    parts: tuple[Health, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Every release that runs, and why the gateway does not follow, if so."""

    releases: tuple[ReleaseStatus, ...]
    split_problem: str | None

    @property
    def ready(self) -> bool:
        """Whether nothing is wanting."""
        return self.split_problem is None and all(one.ready for one in self.releases)

    def problems(self) -> Iterator[str]:
        """One line for each thing that is not as it should be; a member of two releases is told once."""
        told = set()
        for one in self.releases:
            for part in one.parts:
                if part.problem is not None and part.artifact not in told:
                    told.add(part.artifact)
                    where = f" ({part.service})" if part.service else ""
                    yield f"{one.role} {one.release}: {part.artifact}{where}: {part.problem}"
        if self.split_problem is not None:
            yield f"traffic: {self.split_problem}"


def role_of(rollout: Rollout, name: str) -> tuple[str, int]:
    """Role and share of a release; ``-`` if it does not run."""
    traffic = rollout.traffic
    if name == traffic.stable:
        return "stable", 100 - traffic.percent
    if name == traffic.canary:
        return "canary", traffic.percent
    return ("idle" if name in rollout.names else "-"), 0


def take_status(observer: Observer, rollout: Rollout) -> Status:
    """Look at everything that the values say runs."""
    services = observer.services()

    def one(release: RunningRelease) -> ReleaseStatus:
        role, share = role_of(rollout, release.name)
        parts = tuple(observer.health(release, services))
        ready = all(part.problem is None for part in parts)
        return ReleaseStatus(release.name, role, share, ready, dict(sorted(release.members.items())), parts)

    return Status(tuple(map(one, rollout.releases)), observer.split_problem(rollout.traffic))


def status_table(status: Status) -> Table:
    """Releases with share and artifacts, for people."""
    table = plain_table("release", "role", "share", "ready", "members")
    for one in status.releases:
        parts = "\n".join(f"{part.artifact}{'' if part.problem is None else ' not ready'}" for part in one.parts[:-1])
        table.add_row(one.release, one.role, f"{one.share} %", "yes" if one.ready else "no", parts)
    return table


def sources(status: Status) -> str:
    """The stores that the artifacts come from; more than one only while a store is being moved."""
    found = {
        re.sub(r"/(models|releases)/[^/]+(/[^/]+)?/?$", "", part.uri) for one in status.releases for part in one.parts
    }
    return ", ".join(sorted(uri for uri in found if uri)) or "nowhere yet"


def shown_lines(shown: Shown, running: ReleaseStatus | None) -> Iterator[str]:
    """A release for people: what it forecasts, from what, and how it does."""
    manifest = shown.manifest
    levels = ",".join(f"{level:g}" for level in manifest.quantile_levels)
    runs = "does not run" if running is None else f"{shown.role}, {shown.share} %, "
    yield f"release {manifest.release}"
    facts = {
        "created": manifest.created,
        "cluster": runs if running is None else runs + ("ready" if running.ready else "not ready"),
        "members": ", ".join(f"{kind} {version}" for kind, version in sorted(manifest.members.items())),
        "forecasts": f"{manifest.proxy}, horizons {','.join(map(str, manifest.horizons))}, quantiles {levels}",
        "scores": ", ".join(f"{name} {score:.4f}" for name, score in sorted(manifest.scores.items())) or "-",
        f"vs {shown.stable}": "; ".join(shown.contract_changes) or "nothing that clients rely on differs",
    }
    for name, fact in facts.items():
        yield f"  {name:<16} {fact}"
    for part in () if running is None else running.parts:
        if part.problem is not None:
            yield f"not ready: {part.artifact}: {part.problem}"


def plain_table(*columns: str) -> Table:
    """A table as the store's commands print theirs."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name == "share" else "left", overflow="fold")
    return table

"""The releases of a store beside what the cluster does with them."""

from __future__ import annotations

from dataclasses import dataclass

from optimization.rollout.contract import contract_changes
from optimization.rollout.report import role_of
from optimization.rollout.state import Rollout
from predictors.core.artifact import ReleaseManifest
from predictors.store import Store, read_release_manifest
from predictors.store.inventory import take_inventory


@dataclass(frozen=True, slots=True)
class Listed:
    """One release; ``created`` is empty if it only runs, ``role`` is ``-`` if it does not run."""

    release: str
    created: str
    role: str
    share: int
    members: dict[str, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A release's manifest, and how it differs from the stable one for clients."""

    manifest: ReleaseManifest
    role: str
    share: int
    stable: str
    contract_changes: tuple[str, ...]


def list_releases(store: Store, rollout: Rollout) -> list[Listed]:
    """Every release of the store, newest first, then those that only run.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    stored = take_inventory(store).releases.values()
    newest = sorted(stored, key=lambda one: (one.created, one.release), reverse=True)
    rows = [Listed(one.release, one.created, *role_of(rollout, one.release), one.members) for one in newest]
    known = {row.release for row in rows}
    lost = [one for one in rollout.releases if one.name not in known]
    return rows + [Listed(one.name, "", *role_of(rollout, one.name), dict(one.members)) for one in lost]


def show_release(store: Store, rollout: Rollout, release: str) -> Shown:
    """One release of the store, compared with the stable one.

    Raises
    ------
    NotFound
        If the store lacks one of them.
    ArtifactError, StoreError
        If one was altered, or the store cannot be read.
    """
    manifest = read_release_manifest(store, release)
    stable = rollout.traffic.stable
    changes = contract_changes(read_release_manifest(store, stable), manifest)
    return Shown(manifest, *role_of(rollout, release), stable, tuple(changes))

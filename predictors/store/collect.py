"""Garbage of a store: what no release refers to."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from predictors.core.artifact import MANIFEST
from predictors.core.errors import ArtifactError, StoreError
from predictors.store.claims import (
    CLAIM_HOLDS,
    COLLECTING,
    COLLECTOR_WORKS_S,
    PUBLISHING,
    claimed,
    collecting,
)
from predictors.store.inventory import take_inventory
from predictors.store.objects import Store, StoredObject


def garbage(store: Store, older_than: timedelta, now: datetime | None = None) -> list[StoredObject]:
    """Objects that may be deleted, in an order that may be broken off anywhere.

    These are, each older than ``older_than`` by the store's time of its last change:

    * whole folders of artifacts that no release refers to (nor, by parents, any member of one), and
      of artifacts and releases whose publish was broken off before its manifest, unless a publisher
      at work has claimed them; a folder with one younger object is kept whole;
    * half-written files of killed local writers, and marks of killed publishers and collectors.

    Releases, their members and those members' parents are never among them, nor is anything outside
    the layout of a store.

    Raises
    ------
    ArtifactError
        If a manifest is not sound: what it refers to is then unknown.
    NotFound
        If there is no store.
    StoreError
        If it cannot be read.
    """
    now = now or datetime.now(UTC)
    at_work = claimed(store, now)  # before releases are listed: a claim that has gone has left its release
    found = take_inventory(store)
    if found.refused:
        raise ArtifactError(f"{next(iter(found.refused.values()))}; nothing is collected before that is mended")
    kept = found.referenced().union(*(found.needed(release) for release in at_work))
    result = []
    for folder, objects in found.objects.items():
        old = [one for one in objects if now - one.modified >= older_than]
        if folder in kept:
            result += [one for one in old if one.half_written]
        elif len(old) == len(objects):
            result += sorted(old, key=lambda one: not one.path.endswith(f"/{MANIFEST}"))
    marks = [*store.objects(PUBLISHING), *store.objects(COLLECTING)]
    return result + [one for one in marks if now - one.modified >= max(older_than, CLAIM_HOLDS)]


def collect(store: Store, older_than: timedelta) -> list[StoredObject]:
    """Delete the `garbage` of a store.

    Safe beside publishers: whatever the timing, a publish that succeeds leaves a release with all its
    members in the store, also one that re-uses an old artifact that no release refers to yet (see
    `predictors.store.claims`). It may be broken off at any point: manifests go first, so that no
    artifact is visible with files missing.

    Returns
    -------
    What was deleted.

    Raises
    ------
    ArtifactError, NotFound
        As `garbage`.
    StoreError
        If the store cannot be read or written, or half an hour was not enough.
    """
    if not garbage(store, older_than):
        return []  # no publisher need wait
    give_up = time.monotonic() + COLLECTOR_WORKS_S
    with collecting(store) as now:
        found = garbage(store, older_than, now)
        for one in found:
            if time.monotonic() > give_up:
                raise StoreError(f"store '{store.uri}' is not collected whole after half an hour; run it again")
            store.delete(one.path)
    return found

"""Publishers and collectors at work announce it in the store, so that neither pulls the rug from under the other.

Each writes its own mark first and looks for the other's after that. A store that shows a write to
every later read (S3 and SeaweedFS do, a local file system does) then lets at most one of the two
miss the other:

* a publisher that finds a collector waits until it is gone, and then sees what it left;
* a collector that began before the publisher looked is such a collector; one that began later
  finds the publisher's claim and keeps all that it names.

Marks of killed processes lapse: a claim after a day, a collector's after an hour, by the store's
clock. A collector stops by itself long before (`COLLECTOR_WORKS_S`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from predictors.core.artifact import ReleaseManifest
from predictors.core.errors import NotFound, StoreError
from predictors.store.objects import Store

PUBLISHING = "publishing"
COLLECTING = "collecting"
CLAIM_HOLDS = timedelta(days=1)
COLLECTOR_HOLDS = timedelta(hours=1)
COLLECTOR_WORKS_S = 1800.0
_WAIT_S = 60.0
_POLL_S = 0.25


@contextmanager
def publishing(store: Store, manifest: ReleaseManifest) -> Iterator[None]:
    """Keep all that a release is made of from being collected while it is written.

    Raises
    ------
    StoreError
        If a collector is at work and does not end within a minute.
    """
    claim, now = _mark(store, PUBLISHING, manifest.to_json())
    try:
        _outwait_collectors(store, now)
        yield
    finally:  # what a failed publish has written is younger than what is collected, and the next try completes it
        with suppress(StoreError):  # without the right to delete, or with a store that is gone, the claim just lapses
            store.delete(claim)


@contextmanager
def collecting(store: Store) -> Iterator[datetime]:
    """Keep publishers waiting while objects are deleted; yields the store's time."""
    mark, now = _mark(store, COLLECTING, b"{}")
    try:
        yield now
    finally:
        store.delete(mark)


def claimed(store: Store, now: datetime) -> list[ReleaseManifest]:
    """Releases that publishers are at work on."""
    found = []
    for claim in store.objects(PUBLISHING):
        if now - claim.modified < CLAIM_HOLDS:
            with suppress(NotFound):  # published meanwhile
                found.append(ReleaseManifest.from_json(store.get(claim.path), f"claim {claim.path}"))
    return found


def _outwait_collectors(store: Store, now: datetime) -> None:
    give_up = time.monotonic() + _WAIT_S
    while any(now - mark.modified < COLLECTOR_HOLDS for mark in store.objects(COLLECTING)):
        if time.monotonic() > give_up:
            raise StoreError(
                f"store '{store.uri}' is being collected by 'wavecast store gc'; publish again when that has ended "
                "(a killed one no longer counts after an hour)"
            )
        time.sleep(_POLL_S)


def _mark(store: Store, folder: str, content: bytes) -> tuple[str, datetime]:
    """Write a mark; returns its path and the store's time."""
    path = f"{folder}/{secrets.token_hex(8)}.json"
    store.put_new(path, content)
    return path, next(one.modified for one in store.objects(folder) if one.path == path)

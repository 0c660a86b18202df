"""A publisher that re-uses old artifacts and a collector that would take them, request by request in every order."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from optimization.publish import publish
from predictors.core.errors import WavecastError
from predictors.engine import Engine
from predictors.store import Store, claims, read_release
from predictors.store.collect import collect

PUBLISHER, COLLECTOR = "publisher", "collector"
LOOK = 6  # requests: claims, models, releases, one manifest, both kinds of marks


class _Order:
    """Lets two threads make their requests to one store in a given order; what the order does not say is free."""

    def __init__(self, store_uri: str, order: Iterable[str]) -> None:
        self._store_uri, self._order = store_uri, deque(order)
        self._turn = threading.Condition()
        self._ended: set[str] = set()

    def requests(self, method: Callable[..., object]) -> Callable[..., object]:
        """The method of `Store`, made in turn."""

        def in_turn(store: Store, *arguments: object) -> object:
            if store.uri != self._store_uri:
                return method(store, *arguments)
            with self._turn:
                self._turn.wait_for(lambda: self._next() in (None, threading.current_thread().name))
                if self._order:
                    self._order.popleft()
                    self._turn.notify_all()
                return method(store, *arguments)

        return in_turn

    def run(self, **works: Callable[[], object]) -> dict[str, WavecastError]:
        """Run each work in a thread of its name; what they raised."""
        raised: dict[str, WavecastError] = {}

        def run(name: str, work: Callable[[], object]) -> None:
            try:
                work()
            except WavecastError as wrong:
                raised[name] = wrong
            finally:
                with self._turn:
                    self._ended.add(name)
                    self._turn.notify_all()

        threads = [threading.Thread(target=run, args=item, name=item[0]) for item in works.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return raised

    def _next(self) -> str | None:
        while self._order and self._order[0] in self._ended:
            self._order.popleft()
        return self._order[0] if self._order else None


@pytest.fixture(scope="session")
def old_store(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For days, one artifact of a release that is not published yet has lain in this store."""
    folder = tmp_path_factory.mktemp("old")
    kind, version = max(read_release(Store(run)).manifest.members.items())
    shutil.copytree(Path(run) / "models" / kind / version, folder / "models" / kind / version)
    then = time.time() - timedelta(days=3).total_seconds()
    for file in folder.rglob("*"):
        os.utime(file, (then, then))
    return folder


@pytest.mark.parametrize("published", range(21))
def test_the_release_that_was_published_is_whole(
    run: str, old_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: int
) -> None:
    """The collector has seen that there is garbage; the publisher gets so far, then the collector, then both end."""
    originals = {name: getattr(Store, name) for name in ("get", "put_new", "objects", "delete")}
    monkeypatch.setattr(claims, "_POLL_S", 0.0)
    for requests in range(15):
        folder = tmp_path / str(requests)
        shutil.copytree(old_store, folder)
        uri = str(folder)
        order = _Order(
            uri,
            [COLLECTOR] * LOOK + [PUBLISHER] * published + [COLLECTOR] * requests + [PUBLISHER] * 60 + [COLLECTOR] * 60,
        )
        for name, method in originals.items():
            monkeypatch.setattr(Store, name, order.requests(method))
        raised = order.run(
            publisher=partial(publish, run, uri), collector=partial(collect, Store(uri), timedelta(days=1))
        )
        for name, method in originals.items():
            monkeypatch.setattr(Store, name, method)
        assert raised == {}, f"the collector made {requests} requests after {published} of the publisher's"
        Engine(read_release(Store(uri)))

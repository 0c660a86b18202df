"""A real release in a store, and real servers of both layouts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from running_server import Published, Served, serve
from small_release import SPEC, nasdaq, publish_release

from predictors.members.onnx_member import OnnxMember
from predictors.store import Store, read_release


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    store = tmp_path_factory.mktemp("published") / "store"
    publish_release(store)
    release = read_release(Store(str(store)))
    return Published(store, release.manifest, {kind: OnnxMember(m.model) for kind, m in release.members.items()})


@pytest.fixture(scope="session")
def windows() -> NDArray[np.float64]:
    """Seven real windows (7, 128, 5), none of them golden."""
    bars, _ = nasdaq()
    return np.stack([bars[end - SPEC.window_bars : end] for end in range(840, 900, 9)])


@pytest.fixture(scope="session")
def times() -> NDArray[np.int64]:
    """Times (7, 128) of `windows`, in ns."""
    _, stamps = nasdaq()
    return np.stack([stamps[end - SPEC.window_bars : end] for end in range(840, 900, 9)])


@pytest.fixture(scope="session", params=["embedded", "processes"])
def served(
    request: pytest.FixtureRequest, published: Published, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server of each layout; the tests that use it leave it as it was."""
    server = serve(published.store, request.param, tmp_path_factory.mktemp("served") / "log")
    yield server
    assert server.stop() == 0, server.log.read_text()

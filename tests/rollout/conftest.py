"""A namespace of a real API server with a chart release of two small real releases in a real store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "serving"))
sys.path.append(str(Path(__file__).parents[1] / "cli"))
from api_server import ApiServer, define, find_helm, programs, running
from cast import Cast
from namespaces import Namespace, make_namespace
from small_release import publish_release

from predictors.core.artifact import ReleaseManifest


def _running(folder: Path) -> Iterator[ApiServer]:
    if programs() is None or find_helm() is None:
        pytest.skip("needs kube-apiserver and etcd in KUBEBUILDER_ASSETS, and helm; see CONTRIBUTING.md")
    with running(folder) as server:
        yield server


@pytest.fixture
def bare_server(tmp_path: Path) -> Iterator[ApiServer]:
    """An API server of its own for a test, that knows nothing of KServe."""
    yield from _running(tmp_path)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with the resources of KServe and the Gateway API."""
    for started in _running(tmp_path_factory.mktemp("api-server")):
        define(started)
        yield started


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ReleaseManifest]]:
    """A store with three releases of other members each."""
    folder = tmp_path_factory.mktemp("store")
    made = [
        publish_release(folder, penalty_factor=factor, created=f"2026-01-0{day}T00:00:00Z")
        for day, factor in ((1, 1.0), (2, 2.0), (3, 3.0))
    ]
    return folder, made


@pytest.fixture
def namespace(server: ApiServer, store: tuple[Path, list[ReleaseManifest]], tmp_path: Path) -> Namespace:
    """An empty namespace with a gateway."""
    return make_namespace(server, store[0], tmp_path)


@pytest.fixture
def cast(namespace: Namespace) -> Iterator[Cast]:
    """Somebody plays KServe and the gateway in the namespace."""
    with Cast(namespace.server, namespace.name) as playing:
        yield playing

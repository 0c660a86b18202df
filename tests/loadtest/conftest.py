"""A real server, and certificates of a real authority."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "serving"))
from running_server import Served, serve
from small_release import publish_release


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real release, served in one process."""
    folder = tmp_path_factory.mktemp("served")
    publish_release(folder / "store")
    server = serve(folder / "store", "embedded", folder / "log")
    yield server
    assert server.stop() == 0, server.log.read_text()

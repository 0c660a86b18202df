"""Who may ask: keys and their scopes, TLS, and browsers of other origins, over REST and gRPC."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray
from running_server import Published, Served, serve, wavecast
from v2_requests import INFER, grpc_message, tensor

OPEN = ("/", "/metrics", "/v2/health/live", "/v2/health/ready", "/v2/models/wavecast/ready")
ORIGIN = "https://app.example"


def _keys(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("wavecast"))
    return subprocess.run([program, "keys", *arguments], capture_output=True, text=True, check=False)


def _certificate(folder: Path, name: str) -> None:
    """A self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@dataclass(slots=True)
class Locked:
    """A server with keys, TLS and CORS."""

    server: Served
    folder: Path
    reader: str
    admin: str

    def rest(self, key: str | None = None) -> httpx.Client:
        trust = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.server.http, verify=trust, headers=headers, timeout=60)

    def grpc(self) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials((self.folder / "cert.pem").read_bytes())
        return grpc.secure_channel(self.server.grpc, credentials)

    def code(self, method: str, message: object, *metadata: tuple[str, str]) -> str:
        """gRPC status of one call."""
        with self.grpc() as channel:
            try:
                getattr(GRPCInferenceServiceStub(channel), method)(message, metadata=metadata, timeout=60)
            except grpc.RpcError as wrong:
                return str(wrong.code().name)
        return "OK"


@pytest.fixture(scope="module", params=["embedded", "processes"])
def locked(
    request: pytest.FixtureRequest, published: Published, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Locked]:
    folder = tmp_path_factory.mktemp("locked")
    _certificate(folder, "first")
    file = str(folder / "keys.jsonl")
    reader = _keys("create", "desk", "--file", file).stdout.strip()
    admin = _keys("create", "operator", "--file", file, "--scope", "admin").stdout.strip()
    server = serve(
        published.store,
        request.param,
        folder / "log",
        WAVECAST_API_KEYS=file,
        WAVECAST_TLS_CERT=str(folder / "cert.pem"),
        WAVECAST_TLS_KEY=str(folder / "key.pem"),
        WAVECAST_CORS_ORIGINS=f'["{ORIGIN}"]',
    )
    yield Locked(server, folder, reader, admin)
    assert server.stop() == 0, server.log.read_text()


def _ask(bars: NDArray[np.float64]) -> dict[str, object]:
    return {"inputs": [tensor("bars", bars[:1])]}


def test_a_forecast_needs_a_key_and_health_and_metrics_need_none(locked: Locked, windows: NDArray[np.float64]) -> None:
    with locked.rest() as client:
        for path in OPEN:
            assert client.get(path).status_code == 200, path
        refused = client.post(INFER, json=_ask(windows))
        assert refused.status_code == 401
        assert list(refused.json()) == ["error"]
        assert refused.headers["www-authenticate"] == "Bearer"
        for path in ("/v2", "/v2/models", "/v2/models/wavecast", "/nowhere"):
            assert client.get(path).status_code == 401, path
    for header in ({"authorization": f"Bearer {locked.reader}"}, {"x-api-key": locked.reader}):
        with locked.rest() as client:
            assert client.post(INFER, json=_ask(windows), headers=header).status_code == 200


def test_the_same_over_grpc(locked: Locked, windows: NDArray[np.float64]) -> None:
    message = grpc_message(windows[:1])
    assert locked.code("ModelReady", pb.ModelReadyRequest(name="wavecast")) == "OK"
    assert locked.code("ServerLive", pb.ServerLiveRequest()) == "OK"
    assert locked.code("ModelInfer", message) == "UNAUTHENTICATED"
    assert locked.code("ModelMetadata", pb.ModelMetadataRequest(name="wavecast")) == "UNAUTHENTICATED"
    assert locked.code("ModelInfer", message, ("authorization", f"Bearer {locked.reader}")) == "OK"
    assert locked.code("ModelInfer", message, ("x-api-key", locked.reader)) == "OK"


@pytest.mark.parametrize("wrong", ["", "wc_", "wc_" + "A" * 43, "ü" * 9, "x" * 5000])
def test_a_wrong_key_is_no_key(locked: Locked, windows: NDArray[np.float64], wrong: str) -> None:
    with locked.rest() as client:
        answer = client.post(INFER, json=_ask(windows), headers=[(b"x-api-key", wrong.encode())])
    assert answer.status_code == 401
    if wrong.isascii():
        assert locked.code("ModelInfer", grpc_message(windows[:1]), ("x-api-key", wrong)) == "UNAUTHENTICATED"


def test_to_load_or_unload_needs_scope_admin(locked: Locked) -> None:
    path = "/v2/repository/models/wavecast/unload"
    with locked.rest(locked.reader) as client:
        refused = client.post(path, json={})
        assert refused.status_code == 403
        assert "'desk'" in refused.json()["error"]
    with locked.rest(locked.admin) as client:
        assert client.post(path, json={}).status_code == 400  # let in, and told what is missing
        assert client.get("/v2").status_code == 200
    unload = pb.RepositoryModelUnloadRequest(model_name="wavecast")
    assert locked.code("RepositoryModelUnload", unload, ("x-api-key", locked.reader)) == "PERMISSION_DENIED"
    assert locked.code("RepositoryModelUnload", unload, ("x-api-key", locked.admin)) == "INVALID_ARGUMENT"


def test_a_browser_of_a_named_origin_may_ask_and_another_may_not(locked: Locked, windows: NDArray[np.float64]) -> None:
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    with locked.rest() as client:
        allowed = client.options(INFER, headers={"origin": ORIGIN, **ask})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
        other = client.options(INFER, headers={"origin": "https://other.example", **ask})
        assert "access-control-allow-origin" not in other.headers
        refused = client.post(INFER, json=_ask(windows), headers={"origin": ORIGIN})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)


def test_without_tls_there_is_no_answer(locked: Locked, windows: NDArray[np.float64]) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(locked.server.http.replace("https", "http") + "/v2/health/live")
    with grpc.insecure_channel(locked.server.grpc) as channel, pytest.raises(grpc.RpcError):
        GRPCInferenceServiceStub(channel).ServerLive(pb.ServerLiveRequest(), timeout=5)


def test_a_renewed_certificate_and_a_revoked_key_count_without_a_restart(
    locked: Locked, windows: NDArray[np.float64]
) -> None:
    file = str(locked.folder / "keys.jsonl")
    temporary = _keys("create", "temporary", "--file", file).stdout.strip()
    _certificate(locked.folder, "second")  # clients trust only the new one from here on
    time.sleep(1.1)
    with locked.rest(temporary) as client:
        assert client.post(INFER, json=_ask(windows)).status_code == 200
        assert _keys("revoke", "temporary", "--file", file).returncode == 0
        time.sleep(1.1)
        assert client.post(INFER, json=_ask(windows)).status_code == 401
    assert locked.code("ModelInfer", grpc_message(windows[:1]), ("x-api-key", locked.reader)) == "OK"


def test_a_key_file_keeps_no_key_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    made = _keys("create", "desk", "--file", str(file))
    assert made.returncode == 0
    assert made.stdout.strip() not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert _keys("list", "--file", str(file)).stdout == "desk\tread\n"
    again = _keys("create", "desk", "--file", str(file))
    assert (again.returncode, again.stdout) == (2, "")
    assert "'desk'" in again.stderr
    assert _keys("revoke", "nobody", "--file", str(file)).returncode == 2
    assert _keys("revoke", "desk", "--file", str(file)).returncode == 0
    assert file.read_text() == ""


REFUSED = {
    "network without keys": (["--host", "192.0.2.1"], "host 192.0.2.1 is open to the network"),
    "network without keys, processes": (["--host", "::", "--layout", "processes"], "host :: is open to the network"),
    "no such key file": (["--api-keys", "nowhere.jsonl"], "key file nowhere.jsonl cannot be read"),
    "not a key file": (["--api-keys", __file__], "line 1 is not a key"),
    "half of TLS": (["--tls-cert", __file__], "--tls-cert and --tls-key"),
    "not a certificate": (["--tls-cert", __file__, "--tls-key", __file__], "cannot be used"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_server_that_would_be_open_or_cannot_be_locked_does_not_start(
    case: str, published: Published, tmp_path: Path
) -> None:
    flags, words = REFUSED[case]
    ports = ("--port", "0", "--grpc-port", "0")
    with wavecast("serve", "--store", str(published.store), *ports, *flags, log=tmp_path / "log") as process:
        assert process.wait(60) == 2
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.startswith("error: ")
    assert words in line

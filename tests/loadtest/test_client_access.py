"""The Python client: keys, TLS, one connection for many forecasts, and nothing sent twice."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import arch.data.nasdaq
import grpc
import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from misbehaving_server import INPUTS, OUTPUTS, Asked, MisbehavingServer, Reply, right_forecast

from predictors.client import AsyncClient, Client
from predictors.core.errors import Forbidden, InvalidInput, NotReady, RateLimited, Unauthenticated, WavecastError
from predictors.serving.grpc_client import INFER
from predictors.serving.grpc_codec import decode_request, encode_response

Protocol = Literal["rest", "grpc"]


@dataclass(frozen=True)
class Certificate:
    """Self-signed for 127.0.0.1: its own authority."""

    cert: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    made.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    return arch.data.nasdaq.load().rename(columns=str.lower).iloc[-128:]


@dataclass
class Seen:
    """A server over TLS: where it is, and the keys that it was shown."""

    url: str = ""
    keys: list[str | None] = field(default_factory=list)


@pytest.fixture(params=["rest", "grpc"])
def secured(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[tuple[Protocol, Seen]]:
    seen = Seen()
    if request.param == "rest":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate.cert, certificate.key)

        async def note(asked: Asked, right: Reply) -> Reply:
            seen.keys.append(asked.headers.get("authorization"))
            return right

        with MisbehavingServer(note, tls=context) as server:
            seen.url = server.url
            yield "rest", seen
    else:
        server, seen.url = _grpc_server(certificate, seen.keys)
        yield "grpc", seen
        server.stop(None).wait(30)


def _grpc_server(
    certificate: Certificate, keys: list[str | None], refuse: Callable[[Any], None] = lambda _: None
) -> tuple[Any, str]:
    def infer(message: Any, context: Any) -> Any:
        refuse(context)
        keys.append(dict(context.invocation_metadata()).get("authorization"))
        asked = decode_request(message, INPUTS, OUTPUTS)
        return encode_response(right_forecast(asked.tensors["bars"]), OUTPUTS, asked, True, "wavecast", "")

    _, service, method = INFER.split("/")
    handler = grpc.unary_unary_rpc_method_handler(
        infer, pb.ModelInferRequest.FromString, lambda answer: answer.SerializeToString()
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    pair = (certificate.key.read_bytes(), certificate.cert.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    return server, f"grpcs://127.0.0.1:{port}"


def test_over_tls_the_key_is_shown_with_every_forecast(
    secured: tuple[Protocol, Seen], certificate: Certificate, bars: pd.DataFrame
) -> None:
    protocol, seen = secured
    with Client(seen.url, protocol, api_key="wc_secret", ca_file=certificate.cert) as client:
        first = client.forecast(bars)
        client.forecast(bars)

    async def ask() -> pd.DataFrame:
        async with AsyncClient(seen.url, protocol, api_key="wc_secret", ca_file=str(certificate.cert)) as client:
            return await client.forecast(bars)

    pd.testing.assert_frame_equal(asyncio.run(ask()), first)
    assert seen.keys == ["Bearer wc_secret"] * 3


def test_a_certificate_of_an_unknown_authority_is_not_believed(
    secured: tuple[Protocol, Seen], bars: pd.DataFrame
) -> None:
    protocol, seen = secured
    with Client(seen.url, protocol) as client, pytest.raises(NotReady):
        client.forecast(bars)
    assert seen.keys == []


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_an_authority_that_is_none_is_the_users_mistake(protocol: Protocol, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    url = "https://127.0.0.1:9" if protocol == "rest" else "grpcs://127.0.0.1:9"
    for ca_file in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(InvalidInput, match="cannot be used as certificate authority"):
            Client(url, protocol, ca_file=ca_file)


def test_forecasts_share_one_connection(bars: pd.DataFrame) -> None:
    with MisbehavingServer() as server, Client(server.url) as client:
        for _ in range(3):
            client.forecast(bars)
        assert (server.forecasts, server.connections) == (3, 1)


def test_a_request_that_was_sent_is_never_sent_again(bars: pd.DataFrame) -> None:
    async def drop(asked: Asked, right: Reply) -> None:
        return None

    with MisbehavingServer(drop) as server, Client(server.url) as client:
        with pytest.raises(NotReady, match="cannot be reached"):
            client.forecast(bars)
        assert server.forecasts == 1


REFUSALS: dict[str, tuple[bytes, type[WavecastError], str]] = {
    "rate": (b'429 X\r\nretry-after: 7\r\ncontent-length: 21\r\n\r\n{"error": "too many"}', RateLimited, "too many"),
    "key": (b'401 X\r\ncontent-length: 19\r\n\r\n{"error": "no key"}', Unauthenticated, "no key"),
    "html": (b"200 X\r\ncontent-length: 6\r\n\r\n<html>", WavecastError, "no V2 response.*<html>"),
    "no V2": (b'200 X\r\ncontent-length: 14\r\n\r\n{"outputs": 1}', WavecastError, "no V2 response"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_is_no_forecast_is_an_error_of_the_tree(refusal: str, bars: pd.DataFrame) -> None:
    content, error, text = REFUSALS[refusal]

    async def refuse(asked: Asked, right: Reply) -> bytes:
        return b"HTTP/1.1 " + content

    with MisbehavingServer(refuse) as server, Client(server.url) as client, pytest.raises(error, match=text) as caught:
        client.forecast(bars)
    if isinstance(caught.value, RateLimited):
        assert caught.value.retry_after_s == 7


GRPC_REFUSALS: dict[grpc.StatusCode, type[WavecastError]] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.UNAVAILABLE: NotReady,
    grpc.StatusCode.INTERNAL: WavecastError,
}


@pytest.mark.parametrize("code", GRPC_REFUSALS)
def test_a_grpc_status_is_the_error_of_the_tree_that_it_stands_for(
    code: grpc.StatusCode, certificate: Certificate, bars: pd.DataFrame
) -> None:
    def refuse(context: Any) -> None:
        context.set_trailing_metadata((("retry-after", "7"),))
        context.abort(code, "not now")

    server, url = _grpc_server(certificate, [], refuse)
    try:
        error = pytest.raises(GRPC_REFUSALS[code], match="not now")
        with Client(url, "grpc", ca_file=certificate.cert) as client, error as caught:
            client.forecast(bars)
        assert type(caught.value) is GRPC_REFUSALS[code]
        assert getattr(caught.value, "retry_after_s", 7) == 7
    finally:
        server.stop(None).wait(30)

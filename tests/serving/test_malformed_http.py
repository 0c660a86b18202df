"""Requests that are wrong below V2 or only just V2: sizes that lie, encodings, depths, and what no client would send.

Each is written to a socket byte by byte, because HTTP clients refuse to send most of them.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from running_server import Published, Served
from small_release import nasdaq
from v2_requests import INFER, assert_same_bits, rest_json, tensor

BARS = nasdaq()[0][None, -128:].copy()
BODY = json.dumps({"inputs": [tensor("bars", BARS)]}).encode()
JSON = {"content-type": "application/json"}
OCTETS = {"content-type": "application/octet-stream"}
DEEP = 100_000
MEGABYTE = 2**20


def _entry(**changes: object) -> bytes:
    return json.dumps({"inputs": [{**tensor("bars", BARS), **changes}]}).encode()


def _replaced(old: bytes, new: bytes) -> bytes:
    assert old in BODY
    return BODY.replace(old, new, 1)


def _binary(size: object, tail: bytes, **changes: object) -> tuple[bytes, dict[str, str]]:
    entry = {"name": "bars", "datatype": "FP64", "shape": [1, 128, 5], "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [{**entry, **changes}]}).encode()
    return header + tail, {**OCTETS, "inference-header-content-length": str(len(header))}


RAW = BARS.tobytes()
_NAN, _INFINITE, _SUBNORMAL = BARS.copy(), BARS.copy(), BARS.copy()
_NAN[0, 3, 2], _INFINITE[0, 4, 1], _SUBNORMAL[0, 5, 0] = np.nan, np.inf, -5e-324

BODIES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "nothing": (b"", JSON, 400, "not JSON"),
    "nothing as octets": (b"", OCTETS, 400, "Inference-Header-Content-Length"),
    "blank": (b" \n\t", JSON, 400, "not JSON"),
    "null": (b"null", JSON, 400, "null"),
    "text": (b'"bars"', JSON, 400, "text"),
    "number": (b"1", JSON, 400, "1"),
    "two documents": (BODY + BODY, JSON, 400, "not JSON"),
    "cut off": (BODY[:-20], JSON, 400, "not JSON"),
    "comment": (b"/* */" + BODY, JSON, 400, "not JSON"),
    "single quotes": (BODY.replace(b'"', b"'"), JSON, 400, "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + BODY, JSON, 400, "not JSON"),
    "UTF-16": (BODY.decode().encode("utf-16"), JSON, 400, "not JSON"),
    "invalid UTF-8": (_replaced(b'"bars"', b'"b\xff\xfers"'), JSON, 400, "not JSON"),
    "lone surrogate": (_replaced(b'"bars"', b'"\\ud800"'), JSON, 400, "not JSON"),
    "zero byte": (_replaced(b'"bars"', b'"\\u0000"'), JSON, 400, "unknown"),
    "infinity": (_replaced(b'"data": [', b'"data": [Infinity,'), JSON, 400, "not JSON"),
    "hexadecimal": (_replaced(b'"data": [', b'"data": [0x1F,'), JSON, 400, "not JSON"),
    "leading zero": (_replaced(b'"data": [', b'"data": [007,'), JSON, 400, "not JSON"),
    "plus sign": (_replaced(b'"data": [', b'"data": [+1,'), JSON, 400, "not JSON"),
    "trailing comma": (BODY[:-1] + b",}", JSON, 400, "not JSON"),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, JSON, 400, "not JSON"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, JSON, 400, "not JSON"),
    "deep data": (_replaced(b'"data": [', b'"data": [' + b"[" * 500 + b"]" * 500 + b","), JSON, 400, "'bars'"),
    "deep shape": (_entry(shape=[[[1]], 128, 5]), JSON, 400, "'bars'"),
    "huge integer": (_entry(data=[10**300] + [1.0] * 639), JSON, 400, "'bars'"),
    "integer beyond a float": (_replaced(b'"data": [', b'"data": [' + b"9" * 400 + b","), JSON, 400, "not JSON"),
    "shape beyond 64 bits": (_entry(shape=[2**64, 128, 5]), JSON, 400, "'bars'"),
    "shape that overflows": (_entry(shape=[2**31, 2**31, 5]), JSON, 413, "'bars'"),
    "shape that wraps to fit": (_entry(shape=[2**63 - 1, 128, 5]), JSON, 413, "'bars'"),
    "negative shape": (_entry(shape=[1, -128, -5]), JSON, 400, "'bars'"),
    "text in shape": (_entry(shape=["1", "128", "5"]), JSON, 400, "'bars'"),
    "null shape": (_entry(shape=None), JSON, 400, "'bars'"),
    "object shape": (_entry(shape={"B": 1}), JSON, 400, "'bars'"),
    "empty shape": (_entry(shape=[]), JSON, 400, "'bars'"),
    "endless shape": (_entry(shape=[1] * 10_000), JSON, 400, "'bars'"),
    "name of a megabyte": (_entry(name="x" * MEGABYTE), JSON, 400, "unknown"),
    "key of a megabyte": (json.dumps({"x" * MEGABYTE: 1}).encode(), JSON, 400, "unknown key"),
    "datatype is a list": (_entry(datatype=["FP64"]), JSON, 400, "'bars'"),
    "datatype is null": (_entry(datatype=None), JSON, 400, "'bars'"),
    "name is a number": (_entry(name=1), JSON, 400, "unknown"),
    "name is a list": (_entry(name=["bars"]), JSON, 400, "unknown"),
    "inputs is an object": (b'{"inputs": {"bars": []}}', JSON, 400, "'inputs'"),
    "an input is null": (b'{"inputs": [null]}', JSON, 400, "'inputs'"),
    "unknown key of a tensor": (_entry(dtype="FP64"), JSON, 400, "'dtype'"),
    "outputs is null": (BODY[:-1] + b', "outputs": null}', JSON, 400, "'outputs'"),
    "outputs is empty": (BODY[:-1] + b', "outputs": []}', JSON, 400, "'outputs'"),
    "output without name": (BODY[:-1] + b', "outputs": [{}]}', JSON, 400, "output"),
    "id is an object": (BODY[:-1] + b', "id": {}}', JSON, 400, "'id'"),
    "parameters is a list": (BODY[:-1] + b', "parameters": []}', JSON, 400, "'parameters'"),
    "timeout is huge": (BODY[:-1] + b', "parameters": {"timeout": 1e400}}', JSON, 400, "not JSON"),
    "timeout is negative": (BODY[:-1] + b', "parameters": {"timeout": -1}}', JSON, 400, "'timeout'"),
    "timeout is a float": (BODY[:-1] + b', "parameters": {"timeout": 1e6}}', JSON, 400, "'timeout'"),
    "unknown parameter": (BODY[:-1] + b', "parameters": {"max_age": 5}}', JSON, 400, "'max_age'"),
    "truncated tensor": (*_binary(len(RAW), RAW[:-1]), 400, "'bars'"),
    "half a number": (*_binary(len(RAW) - 3, RAW[:-3]), 400, "'bars'"),
    "size and shape differ": (*_binary(len(RAW), RAW, shape=[1, 127, 5]), 400, "'bars'"),
    "size of nothing": (*_binary(0, b""), 400, "'bars'"),
    "negative size": (*_binary(-8, RAW), 400, "'bars'"),
    "size beyond 64 bits": (*_binary(2**63, RAW), 400, "'bars'"),
    "size is text": (*_binary("5120", RAW), 400, "'bars'"),
    "size is true": (*_binary(True, RAW[:1]), 400, "'bars'"),
    "bytes left over": (*_binary(len(RAW), RAW + b"\0"), 400, "1 bytes follow"),
    "binary NaN": (*_binary(len(RAW), _NAN.tobytes()), 400, "'bars' [0, 3, 2] = nan"),
    "binary infinity": (*_binary(len(RAW), _INFINITE.tobytes()), 400, "'bars' [0, 4, 1] = inf"),
    "binary price just below 0": (*_binary(len(RAW), _SUBNORMAL.tobytes()), 400, "'bars' [0, 5] open"),
    "big-endian": (*_binary(len(RAW), BARS.astype(">f8").tobytes()), 400, "'bars'"),
    "no header length": (RAW, OCTETS, 400, "Inference-Header-Content-Length"),
    "header length 0": (BODY, {**OCTETS, "inference-header-content-length": "0"}, 400, "not JSON"),
    "header length -1": (BODY, {**OCTETS, "inference-header-content-length": "-1"}, 400, "'-1'"),
    "header length of a float": (BODY, {**OCTETS, "inference-header-content-length": "10.5"}, 400, "'10.5'"),
    "header length too short": (BODY, {**OCTETS, "inference-header-content-length": "10"}, 400, "not JSON"),
    "header length in other digits": (BODY, {**OCTETS, "inference-header-content-length": "²"}, 400, "Length"),
    "header length of 5,000 digits": (BODY, {**OCTETS, "inference-header-content-length": "9" * 5000}, 400, "Length"),
    "content type of an image": (BODY, {"content-type": "image/png"}, 415, "image/png"),
    "content type of text": (BODY, {"content-type": "text/plain"}, 415, "text/plain"),
    "content type of nothing": (BODY, {"content-type": ""}, 415, "content type"),
    "content type nonsense": (BODY, {"content-type": ";;;="}, 415, "content type"),
    "multipart": (BODY, {"content-type": "multipart/form-data; boundary=x"}, 415, "multipart"),
    "charset": (BODY, {"content-type": "application/json; charset=utf-16"}, 415, "utf-16"),
    "gzip": (gzip.compress(BODY), {**JSON, "content-encoding": "gzip"}, 415, "gzip"),
    "brotli": (BODY, {**JSON, "content-encoding": "br"}, 415, "br"),
    "gzip twice": (BODY, {**JSON, "content-encoding": "gzip, gzip"}, 415, "gzip"),
    "gzip unsaid": (gzip.compress(BODY), JSON, 400, "not JSON"),
    "50 MB of blanks": (b" " * (50 * MEGABYTE), JSON, 413, "16777216"),
    "50 MB of numbers": (b"[" + b"1," * (25 * MEGABYTE) + b"1]", JSON, 413, "16777216"),
}


def _head(headers: dict[str, str], method: str = "POST", path: str = INFER, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "host: x", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n"


def _exchange(served: Served, *parts: bytes, leave: bool = False) -> bytes:
    """The first that the server answers to these bytes; it may answer, and close, before it has all of them.

    ``leave`` says with the last byte that no more will come.
    """
    host, port = served.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            if leave:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
                found = re.search(rb"content-length: (\d+)\r\n(?:[^\r\n]+\r\n)*\r\n", answer)
                if found and len(answer) >= found.end() + int(found[1]):
                    return answer[: found.end() + int(found[1])]
        except ConnectionResetError:
            pass
        return answer


def _assert_refused(answer: bytes, status: int, word: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status, answer[:1000]
    content = json.loads(body)
    assert list(content) == ["error"]
    message = content["error"]
    assert word in message
    assert len(message) < 1000
    _assert_discreet(message)


def _assert_discreet(message: str) -> None:
    """No traceback, no class, no path of the server."""
    for secret in ("Traceback", ".py", "/work", "/tmp", "site-packages", "Error(", "<class"):  # noqa: S108
        assert secret not in message


@pytest.fixture(scope="module", autouse=True)
def _unharmed(served: Served, published: Published) -> Iterator[None]:
    """After all of this the answers are the same bits, and nothing broke unseen."""
    yield
    assert_same_bits(rest_json(served, BARS), published.expected(BARS))
    assert "Traceback" not in served.log.read_text()


@pytest.mark.parametrize("case", BODIES)
def test_a_malformed_body_is_refused(served: Served, case: str) -> None:
    body, headers, status, word = BODIES[case]
    answer = _exchange(served, _head({**headers, "content-length": str(len(body))}), body)
    _assert_refused(answer, status, word)


REQUESTS: dict[str, tuple[str, str, int]] = {
    "another version of the protocol": ("POST", "/v1/models/wavecast:predict", 404),
    "explain": ("POST", "/v2/models/wavecast/explain", 404),
    "another action": ("POST", "/v2/models/wavecast/inference", 404),
    "trailing slash": ("POST", "/v2/models/wavecast/infer/", 404),
    "doubled slash": ("POST", "//v2/models/wavecast/infer", 404),
    "parent folder": ("GET", "/v2/models/../../etc/passwd", 404),
    "encoded parent folder": ("GET", "/v2/models/..%2f..%2fetc%2fpasswd", 404),
    "file of the server": ("GET", "/.env", 404),
    "unknown model": ("POST", "/v2/models/nobody/infer", 404),
    "model of another case": ("POST", "/v2/models/WAVECAST/infer", 404),
    "empty model": ("POST", "/v2/models//infer", 404),
    "model of invalid UTF-8": ("POST", "/v2/models/%ff%fe/infer", 404),
    "model with a zero byte": ("POST", "/v2/models/%00/infer", 404),
    "model of a kilobyte": ("POST", f"/v2/models/{'x' * 2000}/infer", 404),
    "unknown version": ("POST", "/v2/models/wavecast/versions/1/infer", 404),
    "empty version": ("POST", "/v2/models/wavecast/versions//infer", 404),
    "version latest": ("GET", "/v2/models/wavecast/versions/latest", 404),
    "versions alone": ("GET", "/v2/models/wavecast/versions", 404),
    "GET of infer": ("GET", INFER, 405),
    "PUT of infer": ("PUT", INFER, 405),
    "PATCH of infer": ("PATCH", INFER, 405),
    "TRACE of infer": ("TRACE", INFER, 405),
    "DELETE of a model": ("DELETE", "/v2/models/wavecast", 405),
    "POST of metadata": ("POST", "/v2/models/wavecast", 405),
    "POST of health": ("POST", "/v2/health/ready", 405),
    "GET of the index": ("GET", "/v2/repository/index", 405),
    "GET of load": ("GET", "/v2/repository/models/wavecast/load", 405),
    "POST of the document": ("POST", "/openapi.json", 405),
    "made-up method": ("PROPFIND", INFER, 405),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_an_unknown_route_model_version_or_method_is_refused(served: Served, case: str) -> None:
    method, path, status = REQUESTS[case]
    body = BODY if method == "POST" else b""
    answer = _exchange(served, _head({**JSON, "content-length": str(len(body))}, method, path), body)
    _assert_refused(answer, status, "")
    assert (b"\r\nallow: " in answer) == (status == 405)


HEADS: dict[str, bytes] = {
    "not HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "length of text": _head({**JSON, "content-length": "ten"}),
    "negative length": _head({**JSON, "content-length": "-1"}),
    "length beyond 64 bits": _head({**JSON, "content-length": "9" * 30}),
    "two lengths": _head({**JSON, "content-length": "1", "Content-Length": "2"}) + b"{}",
    "header without a name": b"POST / HTTP/1.1\r\n: x\r\n\r\n",
    "header with a zero byte": b"POST / HTTP/1.1\r\nhost: a\0b\r\n\r\n",
    "broken chunk": _head({**JSON, "transfer-encoding": "chunked"}) + b"ZZ\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", HEADS)
def test_what_is_no_http_request_gets_400_or_nothing(served: Served, case: str) -> None:
    answer = _exchange(served, HEADS[case], leave=True)
    assert answer == b"" or int(answer.split()[1]) in (400, 413), answer
    _assert_discreet(answer.decode("latin-1"))


def test_a_body_shorter_than_it_says_is_never_answered_as_whole(served: Served) -> None:
    answer = _exchange(served, _head({**JSON, "content-length": str(len(BODY) + 1)}), BODY, leave=True)
    assert answer == b"" or int(answer.split()[1]) == 400, answer


def test_a_body_longer_than_it_says_is_refused(served: Served) -> None:
    """As what its first part is; the rest is a second request that is none."""
    answer = _exchange(served, _head({**JSON, "content-length": str(len(BODY) - 1)}), BODY)
    _assert_refused(answer, 400, "")


def test_http_1_0_and_chunks_are_understood(served: Served, published: Published) -> None:
    whole = _exchange(served, _head({**JSON, "content-length": str(len(BODY))}, version="1.0"), BODY)
    pieces = [BODY[start : start + 1000] for start in range(0, len(BODY), 1000)]
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b"")]
    chunked = _exchange(served, _head({**JSON, "transfer-encoding": "chunked"}), *chunks)
    for answer in (whole, chunked):
        assert answer.split()[1] == b"200", answer
        content = json.loads(answer.partition(b"\r\n\r\n")[2])
        tensors = {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in content["outputs"]}
        assert_same_bits(tensors, published.expected(BARS))


def test_without_a_content_type_it_is_json(served: Served) -> None:
    answer = _exchange(served, _head({"content-length": str(len(BODY))}), BODY)
    assert answer.split()[1] == b"200", answer


def test_a_connection_survives_refusals(served: Served) -> None:
    """Refused requests and good ones alternate on one connection."""
    with httpx.Client(base_url=served.http, timeout=60) as client:
        for body, headers, status, _ in (BODIES["cut off"], BODIES["gzip"], BODIES["truncated tensor"]):
            assert client.post(INFER, content=body, headers=headers).status_code == status
            assert client.post(INFER, content=BODY, headers=JSON).status_code == 200

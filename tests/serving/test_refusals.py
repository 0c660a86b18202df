"""Every malformed request gets the code of the contract and is told what is wrong; the server stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from numpy.typing import NDArray
from running_server import Published, Served
from small_release import nasdaq
from v2_requests import INFER, assert_same_bits, call, grpc_message, grpc_raw, post, rest_json, tensor

_BARS, _STAMPS = nasdaq()
BARS = _BARS[None, -128:].copy()
STAMPS = _STAMPS[None, -128:].copy()


def _with(index: tuple[int, ...], value: object) -> list[Any]:
    data = BARS.tolist()
    data[index[0]][index[1]][index[2]] = value
    return data


def _bars(**changes: Any) -> dict[str, Any]:
    return {"inputs": [tensor("bars", BARS, **changes)]}


def _without(key: str) -> dict[str, Any]:
    entry = tensor("bars", BARS)
    del entry[key]
    return {"inputs": [entry]}


def _shuffled() -> NDArray[np.int64]:
    stamps = STAMPS.copy()
    stamps[0, 5] = stamps[0, 4]
    return stamps


_GOOD = tensor("bars", BARS)
REST: dict[str, tuple[object, int, list[str]]] = {
    "no tensor": ({"inputs": []}, 400, ["inputs"]),
    "no inputs": ({}, 400, ["inputs"]),
    "not an object": ([1], 400, ["the request", "a list"]),
    "unknown key": ({**_bars(), "input": []}, 400, ["'input'"]),
    "unknown tensor": ({"inputs": [{**_GOOD, "name": "candles"}]}, 400, ["'candles'", "bars"]),
    "duplicate tensor": ({"inputs": [_GOOD, _GOOD]}, 400, ["'bars'", "twice"]),
    "missing tensor": ({"inputs": [tensor("timestamps", STAMPS)]}, 400, ["'bars'", "missing"]),
    "no name": (_without("name"), 400, ["tensor None"]),
    "no shape": (_without("shape"), 400, ["'bars'", "shape"]),
    "no datatype": (_without("datatype"), 400, ["'bars'", "FP64"]),
    "no data": (_without("data"), 400, ["'bars'", "'data'"]),
    "other datatype": (_bars(datatype="FP32"), 400, ["'bars'", "'FP32'", "'FP64'"]),
    "lower-case datatype": (_bars(datatype="fp64"), 400, ["'bars'", "'fp64'", "'FP64'"]),
    "rank": (_bars(shape=[128, 5]), 400, ["'bars'", "[128, 5]", "[-1, -1, 5]"]),
    "fields": (_bars(shape=[1, 160, 4]), 400, ["'bars'", "[1, 160, 4]"]),
    "zero batch": (_bars(shape=[0, 128, 5], data=[]), 400, ["'bars'", "[0, 128, 5]"]),
    "negative shape": (_bars(shape=[-1, 128, 5]), 400, ["'bars'", "[-1, 128, 5]"]),
    "boolean shape": (_bars(shape=[True, 128, 5]), 400, ["'bars'", "True"]),
    "float shape": (_bars(shape=[1.0, 128, 5]), 400, ["'bars'", "1.0"]),
    "too few numbers": (_bars(data=BARS.ravel().tolist()[:-1]), 400, ["'bars'", "639", "640"]),
    "too many numbers": (_bars(data=[*BARS.ravel().tolist(), 1.0]), 400, ["'bars'", "641", "640"]),
    "ragged": (_bars(data=[[[1.0] * 5] * 127 + [[1.0] * 4]]), 400, ["'bars'", "nested"]),
    "nested otherwise": (_bars(data=BARS.reshape(128, 5).tolist()), 400, ["'bars'", "nested"]),
    "text for a number": (_bars(data=_with((0, 3, 1), "7000.0")), 400, ["'bars'", "element 16", "text"]),
    "boolean for a number": (_bars(data=_with((0, 3, 1), True)), 400, ["'bars'", "element 16", "boolean"]),
    "null for a number": (_bars(data=_with((0, 3, 1), None)), 400, ["'bars'", "element 16", "null"]),
    "list for a number": (_bars(data=_with((0, 3, 1), [1.0])), 400, ["'bars'", "element 16", "a list"]),
    "text for data": (_bars(data="AAAA"), 400, ["'bars'", "text"]),
    "negative price": (_bars(data=_with((0, 3, 3), -1.0)), 400, ["'bars'", "[0, 3]", "-1"]),
    "zero price": (_bars(data=_with((0, 3, 0), 0)), 400, ["'bars'", "[0, 3]", "open"]),
    "low above close": (_bars(data=_with((0, 3, 2), 1e6)), 400, ["'bars'", "[0, 3]", "low"]),
    "negative volume": (_bars(data=_with((0, 3, 4), -5)), 400, ["'bars'", "[0, 3]", "volume"]),
    "too few bars": (_bars(shape=[1, 100, 5], data=BARS[:, :100].ravel().tolist()), 400, ["'bars'", "100", "128"]),
    "constant bars": (_bars(data=[100.0] * 640), 400, ["window 0", "median"]),
    "too many bars": (_bars(shape=[1, 5000, 5], data=[1.0] * 25000), 413, ["'bars'", "[1, 5000, 5]", "4096"]),
    "too large a batch": (_bars(shape=[2000, 1, 5], data=[1.0] * 10000), 413, ["'bars'", "[2000, 1, 5]", "1024"]),
    "shape beyond reason": (_bars(shape=[2**62, 128, 5]), 413, ["'bars'", str(2**62)]),
    "time goes back": (
        {"inputs": [_GOOD, tensor("timestamps", _shuffled())]},
        400,
        ["'timestamps'", "[0, 5]"],
    ),
    "float times": (
        {"inputs": [_GOOD, tensor("timestamps", STAMPS, data=STAMPS[0].astype(float).tolist())]},
        400,
        ["'timestamps'", "element 0", "integers"],
    ),
    "other times": (
        {"inputs": [_GOOD, tensor("timestamps", STAMPS[:, 1:])]},
        400,
        ["'timestamps'", "[1, 127]", "[1, 128]"],
    ),
    "other batch": (
        {"inputs": [_GOOD, tensor("timestamps", np.concatenate([STAMPS, STAMPS]))]},
        400,
        ["'timestamps'", "batch 2"],
    ),
    "text timeout": ({**_bars(), "parameters": {"timeout": "1s"}}, 400, ["'timeout'", "'1s'"]),
    "zero timeout": ({**_bars(), "parameters": {"timeout": 0}}, 400, ["'timeout'", "0"]),
    "boolean timeout": ({**_bars(), "parameters": {"timeout": True}}, 400, ["'timeout'", "True"]),
    "deadline in the past": ({**_bars(), "parameters": {"timeout": 1}}, 504, ["deadline"]),
    "age without times": ({**_bars(), "parameters": {"max_age_s": 60}}, 400, ["'max_age_s'", "'timestamps'"]),
    "stale": (
        {"inputs": [_GOOD, tensor("timestamps", STAMPS)], "parameters": {"max_age_s": 60}},
        400,
        ["'timestamps'", "s old", "60"],
    ),
    "nested parameter": ({**_bars(), "parameters": {"a": {}}}, 400, ["'parameters'"]),
    "numeric id": ({**_bars(), "id": 7}, 400, ["'id'", "7"]),
    "unknown output": ({**_bars(), "outputs": [{"name": "price"}]}, 400, ["'price'", "variance"]),
    "duplicate output": ({**_bars(), "outputs": [{"name": "variance"}] * 2}, 400, ["'variance'", "twice"]),
    "text flag": ({**_bars(), "parameters": {"binary_data_output": "yes"}}, 400, ["'binary_data_output'", "'yes'"]),
    "both kinds of data": (_bars(parameters={"binary_data_size": 8}), 400, ["'bars'", "either"]),
}


@pytest.mark.parametrize("case", REST)
def test_a_malformed_rest_request_is_refused_by_name(served: Served, case: str) -> None:
    content, status, words = REST[case]
    response = post(served, content)
    assert response.status_code == status, response.text
    answer = response.json()
    assert list(answer) == ["error"]
    for word in words:
        assert word in answer["error"]
    assert "Traceback" not in response.text


def _binary(header: dict[str, Any], tail: bytes, length: str | None = None) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(header).encode()
    return text + tail, {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(text)) if length is None else length,
    }


def _binary_bars(size: int) -> dict[str, Any]:
    return {
        "inputs": [{"name": "bars", "datatype": "FP64", "shape": [1, 128, 5], "parameters": {"binary_data_size": size}}]
    }


_NAN = BARS.copy()
_NAN[0, 9, 1] = np.nan
_JSON = {"content-type": "application/json"}
BODIES: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "not JSON": (b"{", _JSON, 400, "not JSON"),
    "empty": (b"", _JSON, 400, "not JSON"),
    "NaN literal": (b'{"inputs":[NaN]}', _JSON, 400, "not JSON"),
    "infinite number": (json.dumps(_bars()).replace("[", "[1e999,", 3).encode(), _JSON, 400, "not JSON"),
    "form": (b"a=1", {"content-type": "application/x-www-form-urlencoded"}, 415, "x-www-form-urlencoded"),
    "latin": (b"{}", {"content-type": "application/json; charset=latin-1"}, 415, "latin-1"),
    "gzip": (b"\x1f\x8b", {**_JSON, "content-encoding": "gzip"}, 415, "gzip"),
    "no header length": (b"1234", {"content-type": "application/octet-stream"}, 400, "Inference-Header-Content-Length"),
    "long header length": (*_binary({}, b"", "99999"), 400, "'99999'"),
    "text header length": (*_binary({}, b"", "ten"), 400, "'ten'"),
    "short tensor": (*_binary(_binary_bars(5120), BARS.tobytes()[:-8]), 400, "'bars'"),
    "wrong size": (*_binary(_binary_bars(5112), BARS.tobytes()[:-8]), 400, "'bars'"),
    "bytes left": (*_binary(_binary_bars(5120), BARS.tobytes() + b"xx"), 400, "2 bytes"),
    "negative size": (*_binary(_binary_bars(-1), BARS.tobytes()), 400, "'bars'"),
    "not a number": (*_binary(_binary_bars(5120), _NAN.tobytes()), 400, "'bars' [0, 9, 1] = nan"),
    "too large": (b" " * (16 * 2**20 + 1), _JSON, 413, "16777216"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_malformed_body_is_refused(served: Served, case: str) -> None:
    body, headers, status, word = BODIES[case]
    response = httpx.post(served.http + INFER, content=body, headers=headers, timeout=60)
    assert response.status_code == status, response.text
    assert word in response.json()["error"]


def test_a_body_of_unknown_length_is_cut_off(served: Served) -> None:
    response = httpx.post(served.http + INFER, content=(b" " * 2**20 for _ in range(17)), headers=_JSON, timeout=60)
    assert response.status_code == 413
    assert "16777216" in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v3", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v1/models", 404),
        ("POST", "/v1/models/wavecast:predict", 404),
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/nobody/ready", 404),
        ("POST", "/v2/models/nobody/infer", 404),
        ("GET", INFER, 405),
        ("DELETE", "/v2/models/wavecast", 405),
        ("POST", "/metrics", 405),
    ],
)
def test_unknown_routes_models_and_methods_are_json_errors(served: Served, method: str, path: str, status: int) -> None:
    response = httpx.request(method, served.http + path)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    if status == 405:
        assert response.headers["allow"]


def _message(change: Callable[[Any], object], raw: bool = True) -> Any:
    message = grpc_message(BARS, raw)
    change(message)
    return message


def _set(message: Any, name: str, value: object) -> None:
    setattr(message.inputs[0], name, value)


def _again(message: Any) -> None:
    message.inputs.add().CopyFrom(message.inputs[0])
    message.raw_input_contents.append(message.raw_input_contents[0])


GRPC: dict[str, tuple[Any, str, list[str]]] = {
    "unknown model": (_message(lambda m: setattr(m, "model_name", "nobody")), "NOT_FOUND", ["'nobody'"]),
    "unknown version": (_message(lambda m: setattr(m, "model_version", "0")), "NOT_FOUND", ["'0'"]),
    "no tensor": (pb.ModelInferRequest(model_name="wavecast"), "INVALID_ARGUMENT", ["'bars'", "missing"]),
    "unknown tensor": (_message(lambda m: _set(m, "name", "x")), "INVALID_ARGUMENT", ["'x'"]),
    "duplicate tensor": (_message(_again), "INVALID_ARGUMENT", ["'bars'", "twice"]),
    "other datatype": (_message(lambda m: _set(m, "datatype", "FP32")), "INVALID_ARGUMENT", ["'bars'", "'FP32'"]),
    "rank": (_message(lambda m: m.inputs[0].shape.append(1)), "INVALID_ARGUMENT", ["'bars'", "[1, 128, 5, 1]"]),
    "short raw": (
        _message(lambda m: m.raw_input_contents.__setitem__(0, b"1234")),
        "INVALID_ARGUMENT",
        ["'bars'", "4 bytes", "5120"],
    ),
    "too many raw": (_message(lambda m: m.raw_input_contents.append(b"")), "INVALID_ARGUMENT", ["raw_input_contents"]),
    "both contents": (
        _message(lambda m: m.inputs[0].contents.fp64_contents.append(1.0)),
        "INVALID_ARGUMENT",
        ["'bars'", "both"],
    ),
    "other contents": (
        _message(lambda m: m.inputs[0].contents.fp32_contents.append(1.0), raw=False),
        "INVALID_ARGUMENT",
        ["'bars'", "fp32_contents", "fp64_contents"],
    ),
    "too few": (
        _message(lambda m: m.inputs[0].contents.fp64_contents.pop(), raw=False),
        "INVALID_ARGUMENT",
        ["'bars'", "639", "640"],
    ),
    "not a number": (grpc_message(_NAN), "INVALID_ARGUMENT", ["'bars' [0, 9, 1] = nan"]),
    "unknown output": (_message(lambda m: m.outputs.add(name="price")), "INVALID_ARGUMENT", ["'price'"]),
    "zero timeout": (grpc_message(BARS, timeout=0), "INVALID_ARGUMENT", ["'timeout'"]),
    "deadline in the past": (grpc_message(BARS, timeout=1), "DEADLINE_EXCEEDED", ["deadline"]),
    "too many bars": (grpc_message(np.ones((1, 5000, 5))), "OUT_OF_RANGE", ["'bars'", "4096"]),
    "too large": (grpc_message(np.ones((4, 128 * 1024, 5))), "RESOURCE_EXHAUSTED", ["16777216"]),
}


@pytest.mark.parametrize("case", GRPC)
def test_a_malformed_grpc_request_is_refused_by_name(served: Served, case: str) -> None:
    message, code, words = GRPC[case]
    with pytest.raises(grpc.RpcError) as refused:
        call(served, message)
    assert refused.value.code().name == code, refused.value.details()
    for word in words:
        assert word in refused.value.details()


def test_after_all_refusals_the_answers_are_the_same_bits(served: Served, published: Published) -> None:
    for content, _, _ in REST.values():
        post(served, content)
    for message, _, _ in GRPC.values():
        with pytest.raises(grpc.RpcError):
            call(served, message)
    assert_same_bits(rest_json(served, BARS), published.expected(BARS))
    assert_same_bits(grpc_raw(served, BARS), published.expected(BARS))
    assert "Traceback" not in served.log.read_text()

"""Malformed gRPC requests get the code of the contract, and the server stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from running_server import Published, Served
from small_release import nasdaq
from v2_requests import assert_same_bits, call, grpc_message, grpc_raw

BARS = nasdaq()[0][None, -128:].copy()
STAMPS = nasdaq()[1][None, -128:].copy()
SERVICE = "/inference.GRPCInferenceService/"
MEGABYTE = 2**20


def _raw(change: Callable[[Any], object]) -> Any:
    message = grpc_message(BARS)
    change(message)
    return message


def _typed(change: Callable[[Any], object]) -> Any:
    message = grpc_message(BARS, raw=False)
    change(message)
    return message


def _shape(*sizes: int) -> Any:
    def change(message: Any) -> None:
        message.inputs[0].shape[:] = sizes

    return _raw(change)


def _element(index: tuple[int, int, int], value: float) -> Any:
    bars = BARS.copy()
    bars[index] = value
    return grpc_message(bars)


def _with_times(stamps: Any, datatype: str = "INT64") -> Any:
    message = grpc_message(BARS)
    message.inputs.add(name="timestamps", datatype=datatype, shape=stamps.shape)
    message.raw_input_contents.append(stamps.tobytes())
    return message


def _parameter(name: str, value: str | int | bool | None) -> Any:
    message = grpc_message(BARS)
    entry = message.parameters[name]
    if isinstance(value, bool):
        entry.bool_param = value
    elif isinstance(value, int):
        entry.int64_param = value
    elif value is not None:
        entry.string_param = value
    return message


MESSAGES: dict[str, tuple[Any, str, str]] = {
    "empty message": (pb.ModelInferRequest(), "NOT_FOUND", "''"),
    "name of a megabyte": (pb.ModelInferRequest(model_name="x" * MEGABYTE), "NOT_FOUND", "unknown"),
    "name of snowmen": (pb.ModelInferRequest(model_name="☃" * MEGABYTE), "NOT_FOUND", "unknown"),
    "tensor name of a megabyte": (_raw(lambda m: setattr(m.inputs[0], "name", "x" * MEGABYTE)), "INVALID_ARGUMENT", ""),
    "no name": (_raw(lambda m: m.inputs[0].ClearField("name")), "INVALID_ARGUMENT", "unknown"),
    "no datatype": (_raw(lambda m: m.inputs[0].ClearField("datatype")), "INVALID_ARGUMENT", "'bars'"),
    "no shape": (_raw(lambda m: m.inputs[0].ClearField("shape")), "INVALID_ARGUMENT", "'bars'"),
    "no contents": (_raw(lambda m: m.ClearField("raw_input_contents")), "INVALID_ARGUMENT", "'bars'"),
    "negative shape": (_shape(1, -128, 5), "INVALID_ARGUMENT", "'bars'"),
    "zero shape": (_shape(0, 128, 5), "INVALID_ARGUMENT", "'bars'"),
    "shape that overflows": (_shape(2**40, 2**40, 5), "OUT_OF_RANGE", "'bars'"),
    "shape that wraps": (_shape(2**63 - 1, 128, 5), "OUT_OF_RANGE", "'bars'"),
    "shape without end": (_shape(*[1] * 10_000), "INVALID_ARGUMENT", "'bars'"),
    "other fields": (_shape(1, 160, 4), "INVALID_ARGUMENT", "'bars'"),
    "one byte short": (
        _raw(lambda m: m.raw_input_contents.__setitem__(0, BARS.tobytes()[:-1])),
        "INVALID_ARGUMENT",
        "",
    ),
    "one byte long": (
        _raw(lambda m: m.raw_input_contents.__setitem__(0, BARS.tobytes() + b"\0")),
        "INVALID_ARGUMENT",
        "'bars'",
    ),
    "too many raw contents": (_raw(lambda m: m.raw_input_contents.append(b"1")), "INVALID_ARGUMENT", "2 entries"),
    "integers in contents": (
        _typed(lambda m: m.inputs[0].contents.int64_contents.append(1)),
        "INVALID_ARGUMENT",
        "int64_contents",
    ),
    "bytes in contents": (
        _typed(lambda m: m.inputs[0].contents.bytes_contents.append(b"1")),
        "INVALID_ARGUMENT",
        "bytes_contents",
    ),
    "one number too many": (
        _typed(lambda m: m.inputs[0].contents.fp64_contents.append(1.0)),
        "INVALID_ARGUMENT",
        "641",
    ),
    "infinity": (_element((0, 4, 1), np.inf), "INVALID_ARGUMENT", "'bars' [0, 4, 1] = inf"),
    "negative infinity": (_element((0, 4, 1), -np.inf), "INVALID_ARGUMENT", "'bars' [0, 4, 1] = -inf"),
    "price of 0": (_element((0, 3, 3), 0.0), "INVALID_ARGUMENT", "'bars' [0, 3]"),
    "negative price": (_element((0, 3, 3), -1.0), "INVALID_ARGUMENT", "'bars' [0, 3]"),
    "low above the rest": (_element((0, 3, 2), 1e9), "INVALID_ARGUMENT", "low"),
    "negative volume": (_element((0, 3, 4), -1.0), "INVALID_ARGUMENT", "volume"),
    "constant bars": (grpc_message(np.full((1, 128, 5), 100.0)), "INVALID_ARGUMENT", "median"),
    "too few bars": (grpc_message(BARS[:, :100].copy()), "INVALID_ARGUMENT", "100"),
    "too large a batch": (grpc_message(np.ones((2000, 1, 5))), "OUT_OF_RANGE", "1024"),
    "float times": (_with_times(STAMPS.astype(float), "FP64"), "INVALID_ARGUMENT", "'timestamps'"),
    "times of another shape": (_with_times(STAMPS[:, 1:].copy()), "INVALID_ARGUMENT", "'timestamps'"),
    "times that go back": (_with_times(STAMPS[:, ::-1].copy()), "INVALID_ARGUMENT", "'timestamps'"),
    "times of another batch": (_with_times(np.repeat(STAMPS, 2, 0)), "INVALID_ARGUMENT", "'timestamps'"),
    "negative timeout": (_parameter("timeout", -1), "INVALID_ARGUMENT", "'timeout'"),
    "text timeout": (_parameter("timeout", "1s"), "INVALID_ARGUMENT", "'timeout'"),
    "boolean timeout": (_parameter("timeout", True), "INVALID_ARGUMENT", "'timeout'"),
    "timeout without a value": (_parameter("timeout", None), "INVALID_ARGUMENT", "'timeout'"),
    "unknown parameter": (_parameter("max_age", 5), "INVALID_ARGUMENT", "'max_age'"),
    "series too long": (_parameter("series", "x" * 1000), "INVALID_ARGUMENT", "'series'"),
    "age without times": (_parameter("max_age_s", 5), "INVALID_ARGUMENT", "'timestamps'"),
    "duplicate output": (
        _raw(lambda m: (m.outputs.add(name="variance"), m.outputs.add(name="variance"))),
        "INVALID_ARGUMENT",
        "'variance'",
    ),
    "output without name": (_raw(lambda m: m.outputs.add()), "INVALID_ARGUMENT", "output"),
    "50 MB": (grpc_message(np.ones((10, 131072, 5))), "RESOURCE_EXHAUSTED", ""),
}


def _assert_refused(refused: grpc.RpcError, code: str, word: str) -> None:
    details = refused.details()
    assert refused.code().name == code, details
    assert word in details
    assert len(details) < 1000
    for secret in ("Traceback", ".py", "/work", "/tmp", "Error(", "<class"):  # noqa: S108
        assert secret not in details


@pytest.fixture(scope="module", autouse=True)
def _unharmed(served: Served, published: Published) -> Iterator[None]:
    """After all of this the answers are the same bits, and nothing broke unseen."""
    yield
    assert_same_bits(grpc_raw(served, BARS), published.expected(BARS))
    assert "Traceback" not in served.log.read_text()


@pytest.mark.parametrize("case", MESSAGES)
def test_a_malformed_message_is_refused(served: Served, case: str) -> None:
    message, code, word = MESSAGES[case]
    with pytest.raises(grpc.RpcError) as refused:
        call(served, message)
    _assert_refused(refused.value, code, word)


VALID = grpc_message(BARS).SerializeToString()
BYTES: dict[str, tuple[bytes, str, str]] = {
    "cut off": (VALID[:-1], "INVALID_ARGUMENT", "ModelInferRequest"),
    "cut off early": (VALID[:3], "INVALID_ARGUMENT", "ModelInferRequest"),
    "JSON": (b'{"inputs": []}', "INVALID_ARGUMENT", "ModelInferRequest"),
    "noise": (bytes(range(256)), "INVALID_ARGUMENT", "ModelInferRequest"),
    "invalid UTF-8 in the name": (b"\x0a\x02\xff\xfe", "INVALID_ARGUMENT", "ModelInferRequest"),
    "a length that lies": (b"\x0a\xff\xff\xff\xff\x07", "INVALID_ARGUMENT", "ModelInferRequest"),
}


def _send(served: Served, method: str, content: bytes, **options: Any) -> None:
    with grpc.insecure_channel(served.grpc) as channel:
        channel.unary_unary(method)(content, timeout=60, **options)


@pytest.mark.parametrize("case", BYTES)
def test_bytes_that_are_no_message_are_refused(served: Served, case: str) -> None:
    content, code, word = BYTES[case]
    with pytest.raises(grpc.RpcError) as refused:
        _send(served, SERVICE + "ModelInfer", content)
    _assert_refused(refused.value, code, word)


@pytest.mark.parametrize("method", [SERVICE + "Explain", "/inference.Other/ModelInfer", "/", SERVICE])
def test_an_unknown_method_is_unimplemented(served: Served, method: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        _send(served, method, b"")
    assert refused.value.code().name == "UNIMPLEMENTED"


def test_a_small_message_that_unpacks_to_50_mb_is_refused(served: Served) -> None:
    message = grpc_message(np.zeros((10, 131072, 5))).SerializeToString()
    with pytest.raises(grpc.RpcError) as refused:
        _send(served, SERVICE + "ModelInfer", message, compression=grpc.Compression.Gzip)
    _assert_refused(refused.value, "RESOURCE_EXHAUSTED", "")


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ModelReady", pb.ModelReadyRequest(name="nobody")),
        ("ModelReady", pb.ModelReadyRequest(name="wavecast", version="1")),
        ("ModelMetadata", pb.ModelMetadataRequest(name="nobody")),
        ("ModelMetadata", pb.ModelMetadataRequest(name="wavecast", version="1")),
    ],
)
def test_an_unknown_model_or_version_is_not_found(served: Served, method: str, request_: Any) -> None:
    with grpc.insecure_channel(served.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        getattr(GRPCInferenceServiceStub(channel), method)(request_)
    _assert_refused(refused.value, "NOT_FOUND", "loaded")

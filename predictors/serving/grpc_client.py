"""V2 gRPC from outside the graph: with TLS and metadata, raw or typed, blocking or not, and as plain bytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray

from predictors.core.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    NotFound,
    NotReady,
    RateLimited,
    TooLarge,
    Unauthenticated,
    WavecastError,
)
from predictors.serving.grpc_codec import encode_request, read_parameters
from predictors.serving.tensors import DTYPES, Response, Scalar

INFER = "/inference.GRPCInferenceService/ModelInfer"

_RETRY_AFTER_S = 1.0
_ERRORS: dict[str, type[WavecastError]] = {
    error.grpc_code: error
    for error in (DeadlineExceeded, Forbidden, InvalidInput, NotFound, NotReady, TooLarge, Unauthenticated)
}
_ANY_SIZE = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


def open_channel(kind: Any, address: str, credentials: Any, *options: tuple[str, int]) -> Any:
    """A channel of ``kind``, `grpc` or `grpc.aio`; with TLS if there are credentials."""
    if credentials is None:
        return kind.insecure_channel(address, (*_ANY_SIZE, *options))
    return kind.secure_channel(address, credentials, (*_ANY_SIZE, *options))


class GrpcClient:
    """Blocking client of one server; threads may share it."""

    def __init__(self, address: str, credentials: Any, metadata: Mapping[str, str]) -> None:
        """Connect lazily to ``address``, host:port; with TLS if there are credentials, metadata on every call."""
        self._channel = open_channel(grpc, address, credentials)
        self._stub = GRPCInferenceServiceStub(self._channel)
        self._metadata = tuple(metadata.items())

    def call(self, method: str, timeout_s: float, **fields: Any) -> Any:
        """Any method of the service by name, for example ``call("ModelReady", 1.0, name="wavecast")``.

        Raises
        ------
        WavecastError
            The class that matches the gRPC code.
        """
        return self._send(method, getattr(pb, f"{method}Request")(**fields), timeout_s)

    def infer(
        self,
        model: str,
        tensors: Mapping[str, NDArray[Any]],
        parameters: Mapping[str, Scalar],
        timeout_s: float,
        raw: bool = True,
    ) -> Response:
        """One inference with raw or typed contents, both ways.

        Raises
        ------
        WavecastError
            The class that matches the gRPC code; or if the answer is no V2 response.
        """
        message = encode_request(model, tensors, parameters)
        return _decode(self._send("ModelInfer", message if raw else _typed(message, tensors), timeout_s))

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _send(self, method: str, message: Any, timeout_s: float) -> Any:
        try:
            return getattr(self._stub, method)(message, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as wrong:
            raise _to_error(wrong) from wrong


class AsyncGrpcClient:
    """The same for asyncio."""

    def __init__(self, address: str, credentials: Any, metadata: Mapping[str, str]) -> None:
        """As `GrpcClient`."""
        self._to = address, credentials
        self._metadata = tuple(metadata.items())

    @cached_property
    def _channel(self) -> Any:
        # Made on first use, because a channel belongs to the event loop it is made on.
        return open_channel(grpc.aio, *self._to)

    async def infer(
        self, model: str, tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Scalar], timeout_s: float
    ) -> Response:
        """As `GrpcClient.infer`."""
        stub = GRPCInferenceServiceStub(self._channel)
        message = encode_request(model, tensors, parameters)
        try:
            answer = await stub.ModelInfer(message, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as wrong:
            raise _to_error(wrong) from wrong
        return _decode(answer)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def infer_bytes(model: str, tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Scalar]) -> bytes:
    """A serialised ``ModelInferRequest`` with raw contents, for a channel's method `INFER`."""
    return bytes(encode_request(model, tensors, parameters).SerializeToString())


def decode_bytes(content: bytes) -> Response:
    """The tensors and parameters of a serialised ``ModelInferResponse``.

    Raises
    ------
    WavecastError
        If it is none.
    """
    try:
        return _decode(pb.ModelInferResponse.FromString(content))
    except DecodeError as wrong:
        raise WavecastError(f"the answer is no ModelInferResponse: {wrong}") from wrong


def _to_error(wrong: Any) -> WavecastError:
    """The error of the tree that a gRPC status stands for."""
    code, details = wrong.code().name, wrong.details() or wrong.code().name
    if code == RateLimited.grpc_code:
        after = dict(wrong.trailing_metadata() or ()).get("retry-after", "")
        return RateLimited(details, float(after) if after.isdigit() else _RETRY_AFTER_S)
    return _ERRORS.get(code, WavecastError)(details)


def _typed(message: Any, tensors: Mapping[str, NDArray[Any]]) -> Any:
    del message.raw_input_contents[:]
    for entry in message.inputs:
        getattr(entry.contents, _contents(entry.datatype)).extend(tensors[entry.name].ravel().tolist())
    return message


def _decode(message: Any) -> Response:
    raw = message.raw_output_contents
    tensors = {}
    try:
        for position, entry in enumerate(message.outputs):
            values = raw[position] if raw else getattr(entry.contents, _contents(entry.datatype))
            dtype = DTYPES[entry.datatype]
            array = np.frombuffer(values, dtype) if raw else np.array(values, dtype)
            tensors[entry.name] = array.reshape(tuple(entry.shape))
    except (KeyError, IndexError, ValueError, AttributeError) as wrong:
        raise WavecastError(f"the answer is no V2 response: {wrong!r}") from wrong
    return Response(tensors, read_parameters(message.parameters))


def _contents(datatype: str) -> str:
    """Field of ``InferTensorContents``; of the models' datatypes each has its own."""
    return f"{datatype.lower()}_contents"

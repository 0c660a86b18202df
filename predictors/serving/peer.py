"""Another process of the graph: raw V2 gRPC over one long-lived channel."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray

from predictors.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    TooLarge,
    WavecastError,
)
from predictors.serving.grpc_codec import decode_response, encode_request
from predictors.serving.tensors import Response, Scalar

_ERRORS: dict[str, type[WavecastError]] = {
    error.grpc_code: error for error in (DeadlineExceeded, InvalidInput, NotFound, NotReady, TooLarge)
}
_READY_TIMEOUT_S = 1.0
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # a proxy is never between the processes of one graph
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Peer:
    """Client of one server."""

    def __init__(self, address: str) -> None:
        """Connect lazily to ``address``, host:port."""
        self._address = address

    @cached_property
    def _channel(self) -> Any:
        # Made on first use, because a channel belongs to the event loop it is made on.
        return grpc.aio.insecure_channel(self._address, CHANNEL_OPTIONS)

    @cached_property
    def _stub(self) -> Any:
        return GRPCInferenceServiceStub(self._channel)

    async def infer(
        self, model: str, tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Scalar], timeout_s: float
    ) -> Response:
        """One inference.

        Raises
        ------
        WavecastError
            The class that matches the gRPC code.
        """
        try:
            message = await self._stub.ModelInfer(encode_request(model, tensors, parameters), timeout=timeout_s)
        except grpc.aio.AioRpcError as wrong:
            raise to_error(wrong) from wrong
        return decode_response(message)

    async def ready(self, model: str) -> bool:
        """Whether the server is there and says that the model is ready."""
        try:
            answer = await self._stub.ModelReady(pb.ModelReadyRequest(name=model), timeout=_READY_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class BlockingPeer:
    """The same for callers without an event loop."""

    def __init__(self, address: str) -> None:
        """Connect lazily to ``address``, host:port."""
        self._channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)
        self._stub = GRPCInferenceServiceStub(self._channel)

    def infer(
        self, model: str, tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Scalar], timeout_s: float
    ) -> Response:
        """As `Peer.infer`."""
        try:
            message = self._stub.ModelInfer(encode_request(model, tensors, parameters), timeout=timeout_s)
        except grpc.RpcError as wrong:
            raise to_error(wrong) from wrong
        return decode_response(message)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def to_error(wrong: Any) -> WavecastError:
    """The error of the tree that a gRPC status stands for."""
    return _ERRORS.get(wrong.code().name, WavecastError)(wrong.details() or wrong.code().name)

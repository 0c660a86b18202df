"""Another process of the graph: raw V2 gRPC over one long-lived channel."""

from __future__ import annotations

import asyncio
import time
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
_REFUSED = "onnection refused"
"""In the details of a status: the connection was never made, so nothing was sent."""
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),  # a proxy is never between the processes of one graph
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),  # replicas that were replaced have new addresses
    (
        "grpc.service_config",
        '{"loadBalancingConfig": [{"round_robin": {}}]}',
    ),  # over the replicas of a headless service
    # A host that vanished closes no connection; its silence does.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
)


class Peer:
    """Client of one server."""

    def __init__(self, address: str, retry_s: float = 0.0) -> None:
        """Connect lazily.

        Parameters
        ----------
        address
            host:port.
        retry_s
            How long a request waits for a server that refuses the connection, before it fails.
        """
        self._address = address
        self._retry_s = retry_s

    @cached_property
    def _channel(self) -> Any:
        # Made on first use, because a channel belongs to the event loop it is made on.
        return grpc.aio.insecure_channel(self._address, CHANNEL_OPTIONS)

    @cached_property
    def _stub(self) -> Any:
        return GRPCInferenceServiceStub(self._channel)

    async def infer(
        self,
        model: str,
        tensors: Mapping[str, NDArray[Any]],
        parameters: Mapping[str, Scalar],
        timeout_s: float,
        version: str = "",
    ) -> Response:
        """One inference; sent again only if the connection was refused, so that nothing was sent before.

        Raises
        ------
        WavecastError
            The class that matches the gRPC code; or if the answer is no V2 response.
        """
        ends = time.monotonic() + timeout_s
        message = encode_request(model, tensors, parameters, version)
        try:
            try:
                answer = await self._stub.ModelInfer(message, timeout=timeout_s)
            except grpc.aio.AioRpcError as wrong:
                if _REFUSED not in (wrong.details() or "") or not await self._connected(ends):
                    raise
                answer = await self._stub.ModelInfer(message, timeout=ends - time.monotonic())
        except grpc.aio.AioRpcError as wrong:
            raise to_error(wrong) from wrong
        return _decoded(answer)

    async def _connected(self, ends: float) -> bool:
        """Whether the server takes the connection soon."""
        try:
            async with asyncio.timeout(min(self._retry_s, ends - time.monotonic())):
                await self._channel.channel_ready()
        except TimeoutError:
            return False
        return True

    async def ready(self, model: str, version: str = "", timeout_s: float = _READY_TIMEOUT_S) -> bool:
        """Whether the server is there and says that the model, in this version, is ready."""
        request = pb.ModelReadyRequest(name=model, version=version)
        try:
            answer = await self._stub.ModelReady(request, timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def to_error(wrong: Any) -> WavecastError:
    """The error of the tree that a gRPC status stands for."""
    return _ERRORS.get(wrong.code().name, WavecastError)(wrong.details() or wrong.code().name)


def _decoded(answer: Any) -> Response:
    try:
        return decode_response(answer)
    except (KeyError, ValueError, TypeError) as wrong:
        raise WavecastError("the answer is not a V2 response with raw contents") from wrong

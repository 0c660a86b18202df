"""gRPC with messages serialised in advance, one HTTP/2 connection each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from predictors.loadtest.connection import CONNECT, LATE, Failure, Reply
from predictors.serving.grpc_client import INFER, open_channel

# Channels to one address would share one connection otherwise.
_OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


class GrpcConnection:
    """One channel; it connects again by itself."""

    usable = True

    def __init__(self, address: str, credentials: Any, metadata: Mapping[str, str], messages: Sequence[bytes]) -> None:
        self._channel = open_channel(grpc.aio, address, credentials, _OWN_CONNECTION)
        self._infer = self._channel.unary_unary(INFER)
        self._metadata = tuple(metadata.items())
        self._messages = messages

    async def exchange(self, number: int, timeout_s: float) -> Reply:
        """Send message ``number`` and wait for its answer.

        Raises
        ------
        Failure
            If the deadline passed or the server cannot be reached.
        """
        try:
            body = await self._infer(self._messages[number], timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as wrong:
            details = wrong.details() or ""
            if wrong.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise Failure(LATE, details) from wrong
            if "failed to connect" in details:
                raise Failure(CONNECT, details) from wrong
            return Reply(f"gRPC {wrong.code().name}", details.encode(), None, time.monotonic())
        return Reply("OK", body, None, time.monotonic())

    async def close(self) -> None:
        """Close it."""
        await self._channel.close()

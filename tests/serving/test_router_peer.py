"""A request is sent again only if the connection was refused, so that the server cannot have seen it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest
from graph_parts import free_port
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from predictors.core.errors import NotReady, WavecastError
from predictors.serving.peer import Peer

TENSORS = {"tabular": np.zeros((1, 3), np.float32)}


class Server(GRPCInferenceServiceServicer):  # type: ignore[misc]  # kserve ships no types
    """Answers with an empty response, or with a code; counts."""

    def __init__(self, code: grpc.StatusCode | None = None) -> None:
        self.calls = 0
        self.versions: list[str] = []
        self._code = code

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - a name of the protocol
        self.calls += 1
        self.versions.append(request.model_version)
        if self._code is not None:
            await context.abort(self._code, "no")
        return pb.ModelInferResponse()

    async def start(self, port: int) -> Any:
        server = grpc.aio.server()
        add_GRPCInferenceServiceServicer_to_server(self, server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        return server


def test_a_refused_connection_is_tried_again_within_the_deadline() -> None:
    async def story() -> None:
        port, member = free_port(), Server()
        peer = Peer(f"127.0.0.1:{port}", retry_s=20.0)
        asking = asyncio.create_task(peer.infer("lstm", TENSORS, {}, 30.0, "v1"))
        await asyncio.sleep(0.3)
        server = await member.start(port)
        await asking
        assert (member.calls, member.versions) == (1, ["v1"])
        await peer.close()
        await server.stop(0)

    asyncio.run(story())


@pytest.mark.parametrize(("retry_s", "timeout_s"), [(0.0, 30.0), (0.2, 30.0), (30.0, 0.2)])
def test_without_a_server_it_fails_after_the_shorter_of_patience_and_deadline(retry_s: float, timeout_s: float) -> None:
    async def story() -> None:
        peer = Peer(f"127.0.0.1:{free_port()}", retry_s)
        async with asyncio.timeout(20.0):
            with pytest.raises(NotReady, match="refused"):
                await peer.infer("lstm", TENSORS, {}, timeout_s)
        await peer.close()

    asyncio.run(story())


def test_a_server_that_says_it_is_unavailable_is_not_asked_again() -> None:
    async def story() -> None:
        port, member = free_port(), Server(grpc.StatusCode.UNAVAILABLE)
        server = await member.start(port)
        peer = Peer(f"127.0.0.1:{port}", retry_s=5.0)
        with pytest.raises(NotReady, match="no"):
            await peer.infer("lstm", TENSORS, {}, 30.0)
        assert member.calls == 1
        await peer.close()
        await server.stop(0)

    asyncio.run(story())


def test_what_does_not_speak_grpc_is_an_error_of_the_tree() -> None:
    async def story() -> None:
        async def junk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(junk, "127.0.0.1", 0)
        peer = Peer(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(WavecastError):
            await peer.infer("lstm", TENSORS, {}, 5.0)
        assert not await peer.ready("lstm")
        await peer.close()
        server.close()

    asyncio.run(story())

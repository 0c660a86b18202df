"""A request is sent again only if the connection was refused, so that the server cannot have seen it; and replicas."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from graph_parts import free_port

from predictors.core.errors import NotReady, WavecastError
from predictors.serving.peer import Peer
from predictors.serving.rest_message import Message, encode_request
from predictors.serving.tensors import Response

MESSAGE = encode_request({"tabular": np.zeros((1, 3), np.float32)}, {})


class Server:
    """A replica that answers with no tensor and its name, or with a status; counts inferences and connections."""

    def __init__(self, name: str = "", status: int = 200, hung: bool = False) -> None:
        self.calls = self.connections = 0
        self.paths: list[str] = []
        self.hung = hung
        self._status = status
        content = {"error": "no"} if status != 200 else {"outputs": [], "parameters": {"name": name}}
        self._body = json.dumps(content).encode()
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, port: int, host: str = "127.0.0.1") -> Server:
        self._server = await asyncio.start_server(self._serve, host, port)
        return self

    async def stop(self) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()
        await asyncio.sleep(0.05)  # the clients notice

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    self.calls += 1
                    self.paths.append(head.split()[1].decode())
                    await reader.readexactly(len(MESSAGE.body))
                if self.hung:
                    continue
                length = b"%d" % len(self._body)
                writer.write(
                    b"HTTP/1.1 %d X\r\ncontent-length: %s\r\nInference-Header-Content-Length: %s\r\n\r\n%s"
                    % (self._status, length, length, self._body)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


async def ask(peer: Peer, timeout_s: float = 20.0, message: Message = MESSAGE) -> str:
    """Name of the replica that answers; within the time, as the router does it."""

    def name(response: Response) -> str:
        return str(response.parameters["name"])

    async with asyncio.timeout(timeout_s):
        return await peer.infer("lstm", "v1", message, timeout_s, name)


def test_a_refused_connection_is_tried_again_within_the_deadline() -> None:
    async def story() -> None:
        port, member = free_port(), Server("a")
        peer = Peer(f"127.0.0.1:{port}", retry_s=20.0)
        asking = asyncio.create_task(ask(peer))
        await asyncio.sleep(0.3)
        await member.start(port)
        assert await asking == "a"
        assert (member.calls, member.paths) == (1, ["/v2/models/lstm/versions/v1/infer"])
        await peer.close()
        await member.stop()

    asyncio.run(story())


@pytest.mark.parametrize(("retry_s", "timeout_s"), [(0.0, 30.0), (0.2, 30.0), (30.0, 0.2)])
def test_without_a_server_it_fails_after_the_shorter_of_patience_and_deadline(retry_s: float, timeout_s: float) -> None:
    async def story() -> None:
        peer = Peer(f"127.0.0.1:{free_port()}", retry_s)
        async with asyncio.timeout(20.0):
            with pytest.raises(NotReady, match="refused"):
                await peer.infer("lstm", "v1", MESSAGE, timeout_s, lambda response: response)
        await peer.close()

    asyncio.run(story())


def test_a_server_that_says_it_is_unavailable_is_not_asked_again() -> None:
    async def story() -> None:
        port, member = free_port(), Server(status=503)
        await member.start(port)
        peer = Peer(f"127.0.0.1:{port}", retry_s=5.0)
        with pytest.raises(NotReady, match="no"):
            await ask(peer)
        assert member.calls == 1
        await peer.close()
        await member.stop()

    asyncio.run(story())


def test_a_connection_that_is_lost_before_the_answer_is_an_error_and_not_asked_again() -> None:
    async def story() -> None:
        port, member = free_port(), Server(hung=True)
        await member.start(port)
        peer = Peer(f"127.0.0.1:{port}", retry_s=5.0)
        asking = asyncio.create_task(ask(peer))
        while not member.calls:
            await asyncio.sleep(0.01)
        await member.stop()
        with pytest.raises(NotReady, match="lost"):
            await asking
        assert member.calls == 1
        await peer.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "answer",
    [
        *(b"HTTP/1.1 200 OK\r\n\r\nhello", b"\x00\x01\x02", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", b""),
        b"HTTP/1.1 200 OK\r\ninference-header-content-length: -1\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
def test_what_does_not_speak_v2_is_an_error_of_the_tree(answer: bytes) -> None:
    async def story() -> None:
        async def junk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(junk, "127.0.0.1", 0)
        peer = Peer(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(WavecastError):
            await ask(peer, 5.0)
        await peer.close()
        server.close()

    asyncio.run(story())


def test_one_connection_serves_many_requests_one_after_the_other() -> None:
    async def story() -> None:
        port, member = free_port(), Server("a")
        await member.start(port)
        peer = Peer(f"127.0.0.1:{port}")
        assert [await ask(peer) for _ in range(20)] == ["a"] * 20
        assert member.connections == 1
        assert await asyncio.gather(*(ask(peer) for _ in range(5))) == ["a"] * 5
        assert member.connections == 5
        await peer.close()
        await member.stop()

    asyncio.run(story())


def _name_server(monkeypatch: pytest.MonkeyPatch, addresses: Iterable[str]) -> list[str]:
    """The list of addresses that every name has from now on; change it to move the replicas."""
    known = list(addresses)

    async def getaddrinfo(self: Any, host: str, port: int, **_: object) -> list[Any]:
        if not known:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return known


def test_requests_are_spread_over_the_replicas_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        _name_server(monkeypatch, ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        port = free_port()
        replicas = [await Server(str(n)).start(port, f"127.0.0.{n}") for n in (1, 2, 3)]
        peer = Peer(f"members.here:{port}")
        names = [await ask(peer) for _ in range(30)]
        assert sorted(names) == sorted(["1", "2", "3"] * 10)
        await peer.close()
        for replica in replicas:
            await replica.stop()

    asyncio.run(story())


def test_a_replica_that_refuses_is_left_out_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        _name_server(monkeypatch, ["127.0.0.1", "127.0.0.2"])
        port = free_port()
        first, second = [await Server(str(n)).start(port, f"127.0.0.{n}") for n in (1, 2)]
        peer = Peer(f"members.here:{port}")
        assert {await ask(peer) for _ in range(4)} == {"1", "2"}
        await second.stop()
        assert {await ask(peer) for _ in range(10)} == {"1"}
        await second.start(port, "127.0.0.2")
        async with asyncio.timeout(5.0):
            while await ask(peer) != "2":
                await asyncio.sleep(0.05)
        await peer.close()
        for replica in (first, second):
            await replica.stop()

    asyncio.run(story())


def test_a_replica_that_hangs_keeps_one_request_waiting_and_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        _name_server(monkeypatch, ["127.0.0.1", "127.0.0.2"])
        port = free_port()
        first, second = [await Server(str(n)).start(port, f"127.0.0.{n}") for n in (1, 2)]
        peer = Peer(f"members.here:{port}")
        assert {await ask(peer) for _ in range(4)} == {"1", "2"}
        second.hung = True
        late = 0
        for _ in range(10):
            try:
                assert await ask(peer, 0.5) == "1"
            except TimeoutError:
                late += 1
                await asyncio.sleep(1.2)  # it is asked whether it is alive, and does not answer that either
        assert late == 1
        second.hung = False
        async with asyncio.timeout(5.0):
            while await ask(peer, 0.5) != "2":
                await asyncio.sleep(0.05)
        await peer.close()
        for replica in (first, second):
            await replica.stop()

    asyncio.run(story())


def test_a_replica_that_was_replaced_is_found_at_its_new_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        known = _name_server(monkeypatch, ["127.0.0.1"])
        port = free_port()
        old, new = await Server("old").start(port), await Server("new").start(port, "127.0.0.2")
        peer = Peer(f"members.here:{port}")
        assert await ask(peer) == "old"
        await asyncio.sleep(0.6)  # the list is not read again before
        await old.stop()
        known[:] = ["127.0.0.2"]
        assert await ask(peer) == "new"  # the refused request itself
        known.clear()
        assert await ask(peer) == "new"  # a name server that fails takes nothing away
        await peer.close()
        await new.stop()

    asyncio.run(story())


def test_a_name_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        _name_server(monkeypatch, [])
        peer = Peer("members.here:1")
        with pytest.raises(NotReady, match="'members.here' is not known to the name server"):
            await ask(peer)
        await peer.close()

    asyncio.run(story())

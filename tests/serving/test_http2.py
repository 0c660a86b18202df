"""The gRPC server by its frames: streams, windows, headers, and what a peer may not send."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from h2_client import PATH, PREFACE, SETTINGS, Connection, message

from predictors.serving.grpc_protocol import GrpcCall, GrpcServer, Reply, Status
from predictors.serving.http2 import END_HEADERS, END_STREAM, Code, Kind, frame

PADDED, PRIORITY = 0x8, 0x20
MOST = 1000
WINDOW = 65_535


class Echo:
    """Answers a message with itself, and with what the call says; the method ``Wait`` waits until it is told."""

    refusals = None

    def __init__(self) -> None:
        self.paths = {f"/a.Service/{name}": name for name in ("Echo", "Wait", "Large", "Fail")}
        self.calls: list[GrpcCall] = []
        self.go = asyncio.Event()
        self.cancelled = 0

    def may_be_refused(self, method: str) -> bool:
        return False

    def refusal(self) -> Status:
        raise AssertionError

    def call(self, call: GrpcCall, message: bytes, reply: Reply) -> Coroutine[Any, Any, None] | None:
        self.calls.append(call)
        if call.method == "Wait":
            return self._wait(message, reply)
        if call.method == "Fail":
            reply(Status("NOT_FOUND", "100 % of ☃\n", {"retry-after": "1"}))
        else:
            reply(bytes(range(256)) * 1000 if call.method == "Large" else message)
        return None

    async def _wait(self, message: bytes, reply: Reply) -> None:
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        reply(message)


Story = Callable[[Connection, Echo, GrpcServer], Coroutine[Any, Any, None]]


def _run(story: Story, hello: bytes = PREFACE + SETTINGS, timeout_s: float = 60.0) -> None:
    async def tell() -> None:
        service = Echo()
        server = GrpcServer(service, MOST, timeout_s)
        listener = socket.create_server(("127.0.0.1", 0))
        await server.start(listener, None)
        client = await Connection(listener.getsockname()[1]).open(hello)
        try:
            async with asyncio.timeout(30):
                await story(client, service, server)
        finally:
            await client.close()
            await server.stop(0.0)

    asyncio.run(tell())


def test_requests_on_one_connection_are_answered_whatever_the_table_of_headers_holds() -> None:
    """The same bytes mean other headers once the table has moved on."""

    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        first = client.request(1, message(b"a"), user_agent="one")
        again = client.request(3, message(b"b"), user_agent="one")
        client.send(first, again, client.request(5, message(b"c"), user_agent="two"))
        for stream, content in ((1, b"a"), (3, b"b"), (5, b"c")):
            assert (await client.answer(stream))[1] == message(content)
        repeated = client.block(user_agent="two")
        assert all(byte >= 0x80 for byte in repeated), "it only refers to the table"
        client.send(frame(Kind.HEADERS, END_HEADERS, 7, repeated), frame(Kind.DATA, END_STREAM, 7, message(b"")))
        await client.answer(7)
        client.send(client.request(9, message(b""), user_agent="three"))
        await client.answer(9)
        assert [call.metadata["user-agent"] for call in service.calls] == ["one", "one", "two", "two", "three"]
        client.send(frame(Kind.HEADERS, END_HEADERS, 11, repeated))
        assert (await client.next(Kind.GOAWAY)).code == Code.PROTOCOL, "each index means the entry before"

    _run(story)


def test_an_answer_has_status_headers_and_trailers() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(client.request(1, message(b"abc"), grpc_timeout="250m"))
        headers, body = await client.answer(1)
        assert body == message(b"abc")
        assert headers[":status"] == "200"
        assert headers["content-type"] == "application/grpc"
        assert headers["grpc-status"] == "0"
        assert service.calls[0].left_s == 0.25
        assert service.calls[0].address == "127.0.0.1"
        client.send(client.request(3, message(b""), _path="/a.Service/Fail"))
        headers, body = await client.answer(3)
        assert (headers["grpc-status"], headers["retry-after"], body) == ("5", "1", b"")
        assert headers["grpc-message"] == "100 %25 of %E2%98%83%0A"

    _run(story)


def test_headers_may_be_split_padded_and_have_a_priority() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        block = client.block(x_long="x" * 300)
        priority = struct.pack(">LB", 0, 16)
        client.send(
            frame(Kind.HEADERS, PADDED | PRIORITY, 1, b"\x03" + priority + block[:10] + b"\0\0\0"),
            frame(Kind.CONTINUATION, 0, 1, block[10:20]),
            frame(Kind.CONTINUATION, END_HEADERS, 1, block[20:]),
            frame(Kind.DATA, PADDED, 1, b"\x02" + message(b"abc")[:4] + b"\0\0"),
            frame(Kind.DATA, END_STREAM, 1, message(b"abc")[4:]),
        )
        assert (await client.answer(1))[1] == message(b"abc")
        assert service.calls[0].metadata["x-long"] == "x" * 300

    _run(story)


def test_a_frame_may_come_byte_by_byte() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in client.request(1, message(b"abc")):
            client.send(bytes((byte,)))
            await asyncio.sleep(0.001)
        assert (await client.answer(1))[1] == message(b"abc")

    _run(story)


def _settings(**values: int) -> bytes:
    names = {"push": 2, "window": 4, "frame": 5, "unknown": 99}
    return frame(Kind.SETTINGS, 0, 0, b"".join(struct.pack(">HL", names[n], v) for n, v in values.items()))


def _more(stream: int, size: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, struct.pack(">L", size))


def test_an_answer_waits_for_the_windows_of_stream_and_connection() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(client.request(1, message(b""), _path="/a.Service/Large"))
        expected = message(bytes(range(256)) * 1000)
        body = b""
        while len(body) < 1000:
            found = await client.next(Kind.DATA)
            assert len(found.payload) <= 1000
            body += found.payload
        assert len(body) == 1000
        client.send(client.request(3, message(b"small")))  # is not held up by the other
        assert (await client.next(Kind.DATA)).stream == 3
        client.send(_more(1, 200_000))
        while len(body) < WINDOW - len(message(b"small")):
            body += (await client.next(Kind.DATA)).payload
        client.send(_settings(window=300_000), _more(0, 2**20))
        while True:
            found = await client.next(Kind.DATA, Kind.HEADERS)
            if found.kind == Kind.HEADERS:
                break
            body += found.payload
        assert found.flags & END_STREAM
        assert body == expected

    _run(story, PREFACE + _settings(window=1000, unknown=7))


def test_frames_are_as_large_as_the_client_allows() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(_more(0, 2**20), client.request(1, message(b""), _path="/a.Service/Large"))
        found = await client.next(Kind.DATA)
        assert len(found.payload) == 256_005

    _run(story, PREFACE + _settings(window=2**20, frame=2**20))


@pytest.mark.parametrize("gone", [frame(Kind.RST_STREAM, 0, 1, struct.pack(">L", Code.CANCEL)), None])
def test_a_call_that_nobody_waits_for_is_cancelled(gone: bytes | None) -> None:
    """Also in the same packet in which it began."""

    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(client.request(1, message(b""), _path="/a.Service/Wait"), gone or b"")
        while not service.calls:
            await asyncio.sleep(0.01)
        if gone is None:
            await client.close()
        while not service.cancelled:
            await asyncio.sleep(0.01)

    _run(story)


def test_a_message_that_does_not_come_is_answered_in_the_end() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(frame(Kind.HEADERS, END_HEADERS, 1, client.block()), frame(Kind.DATA, 0, 1, message(b"abc")[:6]))
        headers, _ = await client.answer(1)
        assert headers["grpc-status"] == "4"
        assert "6 bytes came" in headers["grpc-message"]
        assert (await client.next(Kind.RST_STREAM)).code == Code.NO_ERROR
        client.send(client.request(3, message(b"next")))
        assert (await client.answer(3))[1] == message(b"next")

    _run(story, timeout_s=0.3)


@pytest.mark.parametrize("hello", [b"", PREFACE[:10], PREFACE])
def test_a_client_that_says_nothing_is_left(hello: bytes) -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.next(Kind.DATA)

    _run(story, hello, timeout_s=0.2)


CALLS: dict[str, tuple[bytes, dict[str, str | None], str, str]] = {
    "no message": (b"", {}, "13", "none"),
    "half a prefix": (b"\0\0", {}, "13", "none"),
    "cut off": (message(b"abc")[:-1], {}, "13", "one message"),
    "two messages": (message(b"a") + message(b"b"), {}, "13", "one message"),
    "too large": (message(b"x" * (MOST + 1)), {}, "8", str(MOST)),
    "compressed with nothing": (message(b"abc", 1), {}, "13", "no encoding"),
    "unknown flag": (message(b"abc", 2), {"grpc_encoding": "gzip"}, "13", "encoding"),
    "unknown encoding": (message(b"abc", 1), {"grpc_encoding": "snappy"}, "12", "snappy"),
    "no gzip": (message(b"abc", 1), {"grpc_encoding": "gzip"}, "13", "not gzip"),
    "half a gzip": (message(gzip.compress(b"abc")[:-4], 1), {"grpc_encoding": "gzip"}, "13", "whole gzip"),
    "small gzip that is large": (message(gzip.compress(b"x" * 2000), 1), {"grpc_encoding": "gzip"}, "8", str(MOST)),
    "unknown method": (message(b""), {"_path": "/a.Service/Nothing"}, "12", "Nothing"),
    "timeout of nine digits": (message(b""), {"grpc_timeout": "123456789S"}, "3", "grpc-timeout"),
    "timeout without unit": (message(b""), {"grpc_timeout": "12"}, "3", "grpc-timeout"),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_that_is_wrong_gets_a_status_and_the_connection_goes_on(case: str) -> None:
    content, changes, status, word = CALLS[case]

    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(client.request(1, content, **changes))
        headers, body = await client.answer(1)
        assert (headers[":status"], headers["grpc-status"], body) == ("200", status, b"")
        assert word in headers["grpc-message"]
        client.send(client.request(3, message(b"next")))
        assert (await client.answer(3))[1] == message(b"next")
        assert [call.method for call in service.calls] == ["Echo"]

    _run(story)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_message_is_unpacked(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(client.request(1, message(pack(b"x" * MOST), 1), grpc_encoding=encoding))
        assert (await client.answer(1))[1] == message(b"x" * MOST)

    _run(story)


@pytest.mark.parametrize("changes", [{"content_type": "text/html"}, {"content_type": None}, {"_method": "GET"}])
def test_what_is_not_grpc_is_415(changes: dict[str, str | None]) -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(client.request(1, message(b""), **changes))
        assert (await client.answer(1))[0] == {":status": "415"}

    _run(story)


def test_a_message_that_will_be_too_large_is_refused_before_it_is_there() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        begin = frame(Kind.HEADERS, END_HEADERS, 1, client.block())
        client.send(begin, frame(Kind.DATA, 0, 1, b"\0\x7f"), frame(Kind.DATA, 0, 1, b"\xff\xff\xff" + b"x" * 100))
        headers, _ = await client.answer(1)
        assert headers["grpc-status"] == "8"
        assert (await client.next(Kind.RST_STREAM)).code == Code.NO_ERROR
        client.send(frame(Kind.DATA, 0, 1, b"x" * 100))
        assert (await client.next(Kind.RST_STREAM)).code == Code.STREAM_CLOSED
        client.send(client.request(3, message(b"next")))
        assert (await client.answer(3))[1] == message(b"next")

    _run(story)


def test_messages_that_come_at_the_same_time_are_bounded() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        part = message(b"x" * MOST)[:-1]
        for stream in range(1, 11, 2):
            client.send(frame(Kind.HEADERS, END_HEADERS, stream, client.block()), frame(Kind.DATA, 0, stream, part))
        headers, _ = await client.answer(7 if len(part) * 4 > 4 * MOST else 9)
        assert headers["grpc-status"] == "8"

    _run(story)


def test_more_streams_than_allowed_are_refused() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        for number in range(1025):
            client.send(client.request(1 + 2 * number, message(b""), _path="/a.Service/Wait"))
        refused = await client.next(Kind.RST_STREAM)
        assert (refused.stream, refused.code) == (2049, Code.REFUSED)
        service.go.set()
        for number in range(1024):
            await client.answer(1 + 2 * number)

    _run(story)


def test_a_server_that_stops_finishes_what_it_has_and_takes_nothing_new() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(client.request(1, message(b"abc"), _path="/a.Service/Wait"))
        while not service.calls:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(server.stop(20.0))
        goodbye = await client.next(Kind.GOAWAY)
        assert goodbye.code == Code.NO_ERROR
        client.send(client.request(3, message(b"late")))
        assert (await client.next(Kind.RST_STREAM)).code == Code.REFUSED
        service.go.set()
        assert (await client.answer(1))[1] == message(b"abc")
        await stopping
        with pytest.raises(asyncio.IncompleteReadError):
            await client.next(Kind.DATA)

    _run(story)


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    """Else the answers to its pings would fill the memory."""

    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        ping = frame(Kind.PING, 0, 0, b"12345678") * 10_000
        client.writer.transport.set_write_buffer_limits(0)
        client._reader._transport.pause_reading()  # type: ignore[attr-defined]
        sent = 0
        stuck = False
        while not stuck:
            assert sent < 100 * 2**20
            client.send(ping)
            sent += len(ping)
            try:
                async with asyncio.timeout(1.0):
                    await client.writer.drain()
            except TimeoutError:
                stuck = True

    _run(story)


def _headers(stream: int, *pairs: tuple[str, str], flags: int = END_HEADERS) -> Callable[[Connection], bytes]:
    return lambda client: frame(Kind.HEADERS, flags, stream, bytes(client.encoder.encode(pairs)))


BASE = ((":method", "POST"), (":scheme", "http"), (":path", PATH))
BROKEN: dict[str, tuple[bytes | Callable[[Connection], bytes], Code]] = {
    "a frame above the limit": (frame(Kind.DATA, 0, 1, b"x" * (2**14 + 1)), Code.FRAME_SIZE),
    "data of no stream": (frame(Kind.DATA, 0, 0, b"x"), Code.PROTOCOL),
    "data of a stream to come": (frame(Kind.DATA, 0, 5, b"x"), Code.PROTOCOL),
    "headers of no stream": (_headers(0, *BASE), Code.PROTOCOL),
    "headers of a stream of ours": (_headers(2, *BASE), Code.PROTOCOL),
    "padding without end": (frame(Kind.HEADERS, PADDED | END_HEADERS, 1, b"\xff\0"), Code.PROTOCOL),
    "a priority that is cut off": (frame(Kind.HEADERS, PRIORITY | END_HEADERS, 1, b"\0"), Code.FRAME_SIZE),
    "a stream that depends on itself": (frame(Kind.PRIORITY, 0, 1, b"\0\0\0\1\0"), Code.PROTOCOL),
    "a short priority": (frame(Kind.PRIORITY, 0, 1, b"\0"), Code.FRAME_SIZE),
    "a continuation of nothing": (frame(Kind.CONTINUATION, END_HEADERS, 1, b""), Code.PROTOCOL),
    "headers that are interrupted": (
        lambda client: frame(Kind.HEADERS, 0, 1, client.block()) + frame(Kind.PING, 0, 0, b"12345678"),
        Code.PROTOCOL,
    ),
    "headers without end": (
        lambda client: frame(Kind.HEADERS, 0, 1, b"") + frame(Kind.CONTINUATION, 0, 1, b"x" * 10_000) * 4,
        Code.CALM,
    ),
    "no HPACK": (frame(Kind.HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), Code.COMPRESSION),
    "headers that unpack to a megabyte": (
        lambda client: frame(
            Kind.HEADERS, END_HEADERS, 1, client.block() + client.encoder.encode([("x", "y" * 4000)]) + b"\xbe" * 300
        ),
        Code.COMPRESSION,
    ),
    "no path": (_headers(1, *BASE[:2]), Code.PROTOCOL),
    "an empty path": (_headers(1, *BASE[:2], (":path", "")), Code.PROTOCOL),
    "two paths": (_headers(1, *BASE, BASE[2]), Code.PROTOCOL),
    "an unknown pseudo-header": (_headers(1, *BASE, (":status", "200")), Code.PROTOCOL),
    "a pseudo-header after others": (_headers(1, *BASE[:2], ("a", "b"), BASE[2]), Code.PROTOCOL),
    "a name in capitals": (_headers(1, *BASE, ("Te", "trailers")), Code.PROTOCOL),
    "a header of connections": (_headers(1, *BASE, ("connection", "close")), Code.PROTOCOL),
    "a te of its own": (_headers(1, *BASE, ("te", "gzip")), Code.PROTOCOL),
    "a line break in a value": (_headers(1, *BASE, ("a", "b\r\nc: d")), Code.PROTOCOL),
    "a length that is none": (_headers(1, *BASE, ("content-length", "-1")), Code.PROTOCOL),
    "a length that lies": (
        lambda client: client.request(1, message(b"abc"), content_length="3"),
        Code.PROTOCOL,
    ),
    "headers twice": (
        lambda client: frame(Kind.HEADERS, END_HEADERS, 1, client.block()) * 2,
        Code.PROTOCOL,
    ),
    "a stream that goes back": (
        lambda client: client.request(3, message(b"")) + client.request(1, message(b"")),
        Code.STREAM_CLOSED,
    ),
    "a short reset": (frame(Kind.RST_STREAM, 0, 1, b""), Code.FRAME_SIZE),
    "a reset of a stream to come": (frame(Kind.RST_STREAM, 0, 1, b"\0\0\0\0"), Code.PROTOCOL),
    "settings of a stream": (frame(Kind.SETTINGS, 0, 1), Code.PROTOCOL),
    "settings that are cut off": (frame(Kind.SETTINGS, 0, 0, b"\0"), Code.FRAME_SIZE),
    "an acknowledgement with content": (frame(Kind.SETTINGS, 1, 0, b"\0" * 6), Code.FRAME_SIZE),
    "a push that is neither on nor off": (_settings(push=2), Code.PROTOCOL),
    "a window above the limit": (_settings(window=2**31), Code.FLOW_CONTROL),
    "frames below the limit": (_settings(frame=100), Code.PROTOCOL),
    "a promise": (frame(Kind.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"), Code.PROTOCOL),
    "a short ping": (frame(Kind.PING, 0, 0, b""), Code.FRAME_SIZE),
    "a ping of a stream": (frame(Kind.PING, 0, 1, b"12345678"), Code.PROTOCOL),
    "a goodbye of a stream": (frame(Kind.GOAWAY, 0, 1, b"\0" * 8), Code.PROTOCOL),
    "an update by nothing": (_more(0, 0), Code.PROTOCOL),
    "a short update": (frame(Kind.WINDOW_UPDATE, 0, 0, b""), Code.FRAME_SIZE),
    "an update of a stream to come": (_more(1, 1), Code.PROTOCOL),
    "an update that overflows": (_more(0, 2**31 - 1), Code.FLOW_CONTROL),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_a_peer_may_not_send_ends_the_connection(case: str) -> None:
    content, code = BROKEN[case]

    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        client.send(content if isinstance(content, bytes) else content(client))
        assert (await client.next(Kind.GOAWAY)).code == code
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.next(Kind.DATA)

    _run(story)


@pytest.mark.parametrize("hello", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", PREFACE + frame(Kind.PING, 0, 0, b"12345678")])
def test_a_connection_that_begins_otherwise_is_ended(hello: bytes) -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        assert (await client.next(Kind.GOAWAY)).code == Code.PROTOCOL

    _run(story, hello)


def test_unknown_frames_are_ignored_and_pings_answered() -> None:
    async def story(client: Connection, service: Echo, server: GrpcServer) -> None:
        unknown = bytes((0, 0, 3, 200, 0, 0, 0, 0, 0)) + b"abc"
        client.send(unknown, frame(Kind.PING, 0, 0, b"12345678"))
        assert (await client.next(Kind.PING)).payload == b"12345678"

    _run(story)

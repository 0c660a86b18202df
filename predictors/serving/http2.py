"""HTTP/2 of a server with short requests and answers: frames, flow control and streams, and nothing it never uses.

It exists because gRPC's own server for asyncio costs a window more than its forecast; the decision record 0007 has the
figures. Anything that a peer may not send ends the connection, which is always allowed.

Source: RFC 9113 (HTTP/2); headers by `hpack` (RFC 7541). Answers are encoded without a dynamic table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Any, ClassVar

from hpack import Decoder, HPACKError

from predictors.serving.http2_head import Head, Malformed, read_head

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME = Struct(">HBBBL")
_FRAME_BYTES = _FRAME.size
_LONG = Struct(">L")
_SETTING = Struct(">HL")
_LONGEST_ID = 2**31 - 1
_WINDOW = 65_535
"""Bytes that may be sent before any update (RFC 9113, section 6.9.2)."""
_MOST_WINDOW = 2**31 - 1
_OUR_WINDOW = 2**20
"""What a stream may send us before an update; the connection may send eight times as much."""
_OUR_FRAME = 2**14
_LEAST_FRAME, _MOST_FRAME = 2**14, 2**24 - 1
_MOST_STREAMS = 1024
_MOST_BLOCK = 2**15
"""Bytes of an encoded block of headers, and of the headers in it."""
_MOST_KNOWN = 64
"""Blocks of headers that are remembered as decoded."""

END_STREAM, END_HEADERS = 0x1, 0x4
_ACK, _PADDED, _PRIORITY = 0x1, 0x8, 0x20


class Kind(IntEnum):
    """Frame types (section 6)."""

    DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


class Code(IntEnum):
    """Error codes (section 7)."""

    NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, _, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
    CALM = 11


class _Broken(Exception):
    """The connection cannot go on."""

    def __init__(self, code: Code) -> None:
        self.code = code


def frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return _FRAME.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


_HELLO = frame(
    Kind.SETTINGS,
    0,
    0,
    b"".join(
        _SETTING.pack(*pair) for pair in ((3, _MOST_STREAMS), (4, _OUR_WINDOW), (5, _OUR_FRAME), (6, _MOST_BLOCK))
    ),
) + frame(Kind.WINDOW_UPDATE, 0, 0, _LONG.pack(8 * _OUR_WINDOW - _WINDOW))


class Stream:
    """One request and its answer.

    Attributes
    ----------
    id, head
        Its number, and the headers of the request.
    parts, size
        The body, and its bytes so far.
    complete
        Whether all of the request is there.
    began
        Loop time, seconds.
    """

    __slots__ = ("began", "complete", "head", "id", "parts", "pending", "size", "taken", "task", "trailers", "window")

    def __init__(self, number: int, head: Head, window: int, began: float) -> None:
        self.id = number
        self.head = head
        self.parts: list[bytes] = []
        self.size = self.taken = 0
        self.complete = False
        self.began = began
        self.window = window
        self.pending = memoryview(b"")
        self.trailers = b""
        self.task: asyncio.Task[None] | None = None


class Http2(asyncio.Protocol):
    """One connection; a subclass answers what `received` gets."""

    body_s: ClassVar[float]
    """How long a request may take to come, in seconds."""
    connections: ClassVar[set[Http2]]

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = self._settled = self._leaving = self._paused = self._reading = False
        self._out: list[bytes] = []
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._window = self._first_window = _WINDOW
        self._frame_bytes = _LEAST_FRAME
        self._taken = 0
        self._block: tuple[int, int, bytes] | None = None
        self._decoder = Decoder(max_header_list_size=_MOST_BLOCK)
        self._known: dict[bytes, Head] = {}
        self._watch: asyncio.TimerHandle | None = None

    def received(self, stream: Stream) -> None:
        """Answer a complete request, or begin to."""
        raise NotImplementedError

    def growing(self, stream: Stream) -> None:
        """Look at a request that is not complete yet."""
        raise NotImplementedError

    def late(self, stream: Stream) -> None:
        """Answer a request that does not become complete."""
        raise NotImplementedError

    def answer(self, stream: Stream, head: bytes, body: bytes, trailers: bytes) -> None:
        """Send an answer, once; blocks of headers are encoded, and without ``head`` the trailers are all of it."""
        number = stream.id
        if self._streams.get(number) is not stream:
            return
        out = self._out
        if head:
            out.append(frame(Kind.HEADERS, END_HEADERS, number, head))
        size = len(body)
        stream.trailers = frame(Kind.HEADERS, END_HEADERS | END_STREAM, number, trailers)
        if not size or (size <= min(self._frame_bytes, self._window, stream.window) and not self._paused):
            if size:
                self._window -= size
                out.append(frame(Kind.DATA, 0, number, body))
            self._end(stream)
        else:
            stream.pending = memoryview(body)
            self._send_pending()
        if not self._reading:
            self._write()

    def incomplete(self) -> list[Stream]:
        """The requests that are not there yet."""
        return [stream for stream in self._streams.values() if not stream.complete]

    def leave(self) -> None:
        """Take no new requests, and close when those that are there are answered."""
        if not self._leaving:
            self._leaving = True
            self._out.append(self._goodbye(Code.NO_ERROR))
            self._write()
            self._close_if_done()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.connections.add(self)
        self._loop = asyncio.get_running_loop()
        self._watch = self._loop.call_later(self.body_s, self._look_for_late)
        transport.write(_HELLO)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        if self._watch is not None:
            self._watch.cancel()
        for stream in [*self._streams.values()]:
            self._forget(stream)

    def pause_writing(self) -> None:
        self._paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        self._send_pending()
        self._write()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        self._reading = True
        try:
            self._rest = data[self._read(data) :]
        except _Broken as wrong:
            self._rest = b""
            self._out.append(self._goodbye(wrong.code))
            self._write()
            self.transport.close()
            return
        finally:
            self._reading = False
        self._write()
        if self._leaving:
            self._close_if_done()

    def _read(self, data: bytes) -> int:
        """Take the frames that are whole; how many bytes they are."""
        at, end = 0, len(data)
        if not self._greeted:
            if data[: len(_PREFACE)] != _PREFACE[:end]:
                raise _Broken(Code.PROTOCOL)
            if end < len(_PREFACE):
                return 0
            self._greeted = True
            at = len(_PREFACE)
        while end - at >= _FRAME_BYTES:
            high, low, kind, flags, number = _FRAME.unpack_from(data, at)
            length = high << 8 | low
            if length > _OUR_FRAME:
                raise _Broken(Code.FRAME_SIZE)
            start = at + _FRAME_BYTES
            if end < start + length:
                break
            at = start + length
            if not self._settled and kind != Kind.SETTINGS:
                raise _Broken(Code.PROTOCOL)
            if self._block is not None and kind != Kind.CONTINUATION:
                raise _Broken(Code.PROTOCOL)
            take = _TAKE.get(kind)
            if take is not None:
                take(self, flags, number & _LONGEST_ID, data[start:at])
            if self.transport.is_closing():
                return end
        return at

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        length = len(payload)
        self._taken += length
        if self._taken > 4 * _OUR_WINDOW:
            self._out.append(frame(Kind.WINDOW_UPDATE, 0, 0, _LONG.pack(self._taken)))
            self._taken = 0
        body = _unpadded(flags, payload)
        stream = self._streams.get(number)
        if stream is None or stream.complete:
            if number == 0 or number > self._last:
                raise _Broken(Code.PROTOCOL)
            if stream is not None:
                self._forget(stream)
            self._reset(number, Code.STREAM_CLOSED)
            return
        stream.parts.append(body)
        stream.size += len(body)
        if flags & END_STREAM:
            self._complete(stream)
            return
        stream.taken += length
        if stream.taken > _OUR_WINDOW // 2:
            self._out.append(frame(Kind.WINDOW_UPDATE, 0, number, _LONG.pack(stream.taken)))
            stream.taken = 0
        self.growing(stream)

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        block = _unpadded(flags, payload)
        if flags & _PRIORITY:
            if len(block) < 5:
                raise _Broken(Code.FRAME_SIZE)
            if _LONG.unpack_from(block)[0] & _LONGEST_ID == number:
                raise _Broken(Code.PROTOCOL)
            block = block[5:]
        self._begin_or_wait(number, flags, block)

    def _take_continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or number != self._block[0]:
            raise _Broken(Code.PROTOCOL)
        _, first, block = self._block
        self._block = None
        self._begin_or_wait(number, (first & END_STREAM) | (flags & END_HEADERS), block + payload)

    def _begin_or_wait(self, number: int, flags: int, block: bytes) -> None:
        if len(block) > _MOST_BLOCK:
            raise _Broken(Code.CALM)
        if flags & END_HEADERS:
            self._begin(number, bool(flags & END_STREAM), block)
        else:
            self._block = number, flags, block

    def _begin(self, number: int, complete: bool, block: bytes) -> None:
        stream = self._streams.get(number)
        if stream is not None:  # trailers, of which gRPC has none in a request
            if stream.complete or not complete:
                raise _Broken(Code.STREAM_CLOSED if stream.complete else Code.PROTOCOL)
            self._decode(block, trailers=True)
            self._complete(stream)
            return
        if number <= self._last or not number % 2:
            raise _Broken(Code.STREAM_CLOSED if number % 2 else Code.PROTOCOL)
        self._last = number
        head = self._known.get(block) or self._decode(block)
        if self._leaving or len(self._streams) >= _MOST_STREAMS:
            self._reset(number, Code.REFUSED)
            return
        self._streams[number] = stream = Stream(number, head, self._first_window, self._loop.time())
        if complete:
            self._complete(stream)

    def _decode(self, block: bytes, trailers: bool = False) -> Head:
        try:
            head = read_head(self._decoder.decode(block, raw=True), trailers)
        except HPACKError as wrong:
            raise _Broken(Code.COMPRESSION) from wrong
        except Malformed as wrong:
            raise _Broken(Code.PROTOCOL) from wrong
        # A block that only refers to the table leaves it as it is, and means the same until another one changes it.
        if block and min(block) >= 0x80 and 0xFF not in block:
            if len(self._known) < _MOST_KNOWN and not trailers:
                self._known[block] = head
        else:
            self._known.clear()
        return head

    def _complete(self, stream: Stream) -> None:
        stream.complete = True
        length = stream.head.length
        if length is not None and length != stream.size:
            raise _Broken(Code.PROTOCOL)
        self.received(stream)

    def _take_reset(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise _Broken(Code.FRAME_SIZE)
        self._check_known(number)
        stream = self._streams.get(number)
        if stream is not None:
            self._forget(stream)

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise _Broken(Code.PROTOCOL)
        if len(payload) % _SETTING.size or (flags & _ACK and payload):
            raise _Broken(Code.FRAME_SIZE)
        if flags & _ACK:
            return
        self._settled = True
        for name, value in _SETTING.iter_unpack(payload):
            if name == 2 and value > 1:
                raise _Broken(Code.PROTOCOL)
            if name == 4:
                if value > _MOST_WINDOW:
                    raise _Broken(Code.FLOW_CONTROL)
                for stream in self._streams.values():
                    stream.window += value - self._first_window
                    if stream.window > _MOST_WINDOW:
                        raise _Broken(Code.FLOW_CONTROL)
                self._first_window = value
            elif name == 5:
                if not _LEAST_FRAME <= value <= _MOST_FRAME:
                    raise _Broken(Code.PROTOCOL)
                self._frame_bytes = value
        self._out.append(frame(Kind.SETTINGS, _ACK, 0))
        self._send_pending()

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise _Broken(Code.PROTOCOL)
        if len(payload) != 8:
            raise _Broken(Code.FRAME_SIZE)
        if not flags & _ACK:
            self._out.append(frame(Kind.PING, _ACK, 0, payload))

    def _take_goodbye(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise _Broken(Code.PROTOCOL)
        self._leaving = True

    def _take_window(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise _Broken(Code.FRAME_SIZE)
        more = _LONG.unpack(payload)[0] & _MOST_WINDOW
        if not more:
            raise _Broken(Code.PROTOCOL)
        if number:
            self._check_known(number)
            stream = self._streams.get(number)
            if stream is None:
                return
            stream.window += more
            if stream.window > _MOST_WINDOW:
                self._forget(stream)
                self._reset(number, Code.FLOW_CONTROL)
        else:
            self._window += more
            if self._window > _MOST_WINDOW:
                raise _Broken(Code.FLOW_CONTROL)
        self._send_pending()

    def _take_priority(self, flags: int, number: int, payload: bytes) -> None:
        if len(payload) != 5:
            raise _Broken(Code.FRAME_SIZE)
        if not number or _LONG.unpack_from(payload)[0] & _LONGEST_ID == number:
            raise _Broken(Code.PROTOCOL)

    def _take_promise(self, flags: int, number: int, payload: bytes) -> None:
        raise _Broken(Code.PROTOCOL)

    def _check_known(self, number: int) -> None:
        if number == 0 or number > self._last:
            raise _Broken(Code.PROTOCOL)

    def _send_pending(self) -> None:
        """Send what the windows allow of the answers that did not fit into them."""
        for stream in [stream for stream in self._streams.values() if stream.pending]:
            while stream.pending and not self._paused:
                size = min(len(stream.pending), self._frame_bytes, self._window, stream.window)
                if size <= 0:
                    break
                self._window -= size
                stream.window -= size
                self._out.append(frame(Kind.DATA, 0, stream.id, bytes(stream.pending[:size])))
                stream.pending = stream.pending[size:]
                self._write()
            if not stream.pending:
                self._end(stream)

    def _end(self, stream: Stream) -> None:
        """Send the trailers; a request that is not complete is not wanted any more."""
        self._out.append(stream.trailers)
        if not stream.complete:
            self._reset(stream.id, Code.NO_ERROR)
        stream.task = None
        self._forget(stream)
        if self._leaving and not self._reading:
            self._write()
            self._close_if_done()

    def _reset(self, number: int, code: Code) -> None:
        self._out.append(frame(Kind.RST_STREAM, 0, number, _LONG.pack(code)))

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.id]
        if stream.task is not None:  # not before it has begun, because what it has to close it closes itself
            self._loop.call_soon(stream.task.cancel)

    def _look_for_late(self) -> None:
        """Answer the requests that do not become complete, and close a connection that never says anything."""
        if not self._settled:
            self.transport.abort()
            return
        now = self._loop.time()
        for stream in self.incomplete():
            if now - stream.began >= self.body_s:
                self.late(stream)
        self._watch = self._loop.call_later(self.body_s / 4, self._look_for_late)

    def _goodbye(self, code: Code) -> bytes:
        return frame(Kind.GOAWAY, 0, 0, _LONG.pack(self._last) + _LONG.pack(code))

    def _close_if_done(self) -> None:
        if not self._streams:
            self.transport.close()

    def _write(self) -> None:
        if self._out:
            self.transport.write(b"".join(self._out))
            self._out.clear()


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise _Broken(Code.PROTOCOL)
    return payload[1 : len(payload) - payload[0]]


_TAKE: dict[int, Callable[[Http2, int, int, bytes], None]] = {
    Kind.DATA: Http2._take_data,
    Kind.HEADERS: Http2._take_headers,
    Kind.PRIORITY: Http2._take_priority,
    Kind.RST_STREAM: Http2._take_reset,
    Kind.SETTINGS: Http2._take_settings,
    Kind.PUSH_PROMISE: Http2._take_promise,
    Kind.PING: Http2._take_ping,
    Kind.GOAWAY: Http2._take_goodbye,
    Kind.WINDOW_UPDATE: Http2._take_window,
    Kind.CONTINUATION: Http2._take_continuation,
}

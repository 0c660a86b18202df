"""gRPC's unary calls over HTTP/2: paths, deadlines, message frames, compression and statuses.

Source: gRPC over HTTP2 (PROTOCOL-HTTP2.md), compression (compression.md).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol
from urllib.parse import quote

from predictors.serving.http2 import Http2, Stream
from predictors.serving.http2_head import encode_headers
from predictors.serving.refusals import Refusals

_CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
_PREFIX_BYTES = 5
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])", re.ASCII)
_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_WINDOW_BITS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_BODIES = 4
"""Largest messages that one connection may be sending at the same time."""
_LOOK_S = 0.02
"""Between two looks at whether all connections are closed."""
_PRINTABLE = " !\"#$&'()*+,/:;<=>?@[\\]^`{|}~"

_OK_200 = b"\x88"
"""``:status: 200`` as entry 8 of HPACK's static table."""
_HEAD = _OK_200 + encode_headers(
    {"content-type": "application/grpc", "grpc-accept-encoding": ",".join(("identity", *_WINDOW_BITS))}
)
_GOOD = encode_headers({"grpc-status": "0"})
_NO_GRPC = encode_headers({":status": "415"})


class Status(Exception):
    """How a call ended that has no answer."""

    def __init__(self, code: str, details: str, metadata: Mapping[str, str] | None = None) -> None:
        """``code`` is gRPC's name of it; ``metadata`` goes with it."""
        super().__init__(details)
        self.code, self.details, self.metadata = code, details, metadata or {}

    def encode(self) -> bytes:
        """The headers of an answer that is this status alone."""
        said = {"grpc-status": str(_CODES.index(self.code)), "grpc-message": quote(self.details, safe=_PRINTABLE)}
        return _HEAD + encode_headers({**said, **self.metadata})


@dataclass(frozen=True, slots=True)
class GrpcCall:
    """A call without its message.

    Attributes
    ----------
    method
        Its name in the service.
    metadata
        By name.
    address
        Of the client.
    left_s
        Seconds until its deadline on arrival, if it has one.
    """

    method: str
    metadata: Mapping[str, str]
    address: str
    left_s: float | None


Reply = Callable[[bytes | Status], None]


class Service(Protocol):
    """What answers calls."""

    paths: Mapping[str, str]
    """Names of the methods by path."""
    refusals: Refusals | None
    """Of the calls for which there may be no room."""

    def may_be_refused(self, method: str) -> bool:
        """Whether a call counts as work."""

    def refusal(self) -> Status:
        """How it is refused now."""

    def call(self, call: GrpcCall, message: bytes, reply: Reply) -> Coroutine[Any, Any, None] | None:
        """Give ``reply`` the answer, now or later, or return what gives it when it is run."""


class GrpcProtocol(Http2):
    """One connection of a gRPC server."""

    service: ClassVar[Service]
    max_bytes: ClassVar[int]

    def received(self, stream: Stream) -> None:
        """Answer a call, or begin to."""
        head = stream.head
        if head.method != "POST" or not head.headers.get("content-type", "").startswith("application/grpc"):
            self.answer(stream, b"", b"", _NO_GRPC)
            return
        try:
            method = self.service.paths.get(head.path)
            if method is None:
                raise Status("UNIMPLEMENTED", f"there is no method '{head.path[:100]}'")
            if self._is_refused(stream, method):
                return
            call = GrpcCall(method, head.headers, self._address(), _timeout_s(head.headers.get("grpc-timeout")))
            later = self.service.call(call, self._message(stream), partial(self._reply, stream))
        except Status as status:
            self._refuse(stream, status)
            return
        if later is not None:
            stream.task = self._loop.create_task(later)

    def growing(self, stream: Stream) -> None:
        """Refuse a message that will be too large, or more than one, before it is there."""
        if stream.size < _PREFIX_BYTES:
            return
        if len(stream.parts[0]) < _PREFIX_BYTES:
            stream.parts = [b"".join(stream.parts)]
        try:
            length = self._length(stream.parts[0])
            if stream.size > length + _PREFIX_BYTES:
                raise Status("INTERNAL", "a unary call has one message; more follows it")
            if sum(other.size for other in self.incomplete()) > _BODIES * self.max_bytes:
                raise Status("RESOURCE_EXHAUSTED", "too many large messages at once on one connection")
        except Status as status:
            self._refuse(stream, status)

    def late(self, stream: Stream) -> None:
        """Answer a call whose message does not come."""
        details = f"the message was not complete after {self.body_s:g} s; {stream.size} bytes came"
        self._refuse(stream, Status("DEADLINE_EXCEEDED", details))

    def _is_refused(self, stream: Stream, method: str) -> bool:
        refusals = self.service.refusals
        if refusals is None or not self.service.may_be_refused(method) or not refusals.no_room():
            return False
        started = time.perf_counter()
        refusals.answer(_Refused(self, stream))
        refusals.took(time.perf_counter() - started)
        return True

    def _reply(self, stream: Stream, answer: bytes | Status) -> None:
        if isinstance(answer, Status):
            self._refuse(stream, answer)
        else:
            self.answer(stream, _HEAD, b"\0" + len(answer).to_bytes(4, "big") + answer, _GOOD)

    def _refuse(self, stream: Stream, status: Status) -> None:
        self.answer(stream, b"", b"", status.encode())

    def _message(self, stream: Stream) -> bytes:
        """The one message of a call."""
        body = stream.parts[0] if len(stream.parts) == 1 else b"".join(stream.parts)
        stream.parts = []
        if self._length(body) != len(body) - _PREFIX_BYTES:
            raise Status("INTERNAL", "a unary call has one message, with its length before it")
        content = body[_PREFIX_BYTES:]
        if body[0] == 0:
            return content
        encoding = stream.head.headers.get("grpc-encoding", "identity")
        if body[0] != 1 or encoding == "identity":
            raise Status("INTERNAL", "the message is marked as compressed, but no encoding is said")
        if encoding not in _WINDOW_BITS:
            raise Status("UNIMPLEMENTED", f"encoding '{encoding[:100]}' is not known; send gzip, deflate or identity")
        unpacking = zlib.decompressobj(_WINDOW_BITS[encoding])
        try:
            content = unpacking.decompress(content, self.max_bytes + 1)
        except zlib.error as wrong:
            raise Status("INTERNAL", f"the message is not {encoding}") from wrong
        self._check_size(len(content))
        if not unpacking.eof:
            raise Status("INTERNAL", f"the message is not whole {encoding}")
        return content

    def _length(self, body: bytes) -> int:
        if len(body) < _PREFIX_BYTES:
            raise Status("INTERNAL", "a unary call has one message; there is none")
        length = int.from_bytes(body[1:_PREFIX_BYTES], "big")
        self._check_size(length)
        return length

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise Status(
                "RESOURCE_EXHAUSTED", f"the message has {size} bytes or more; at most {self.max_bytes} are read"
            )

    def _address(self) -> str:
        peer = self.transport.get_extra_info("peername")
        return str(peer[0]) if peer else "unknown"


class GrpcServer:
    """A gRPC server on the running event loop."""

    def __init__(self, service: Service, max_bytes: int, timeout_s: float) -> None:
        """Set up.

        Parameters
        ----------
        service
            What answers.
        max_bytes
            Largest message that is read.
        timeout_s
            Longest time in which a message may come, in seconds.
        """
        self._open: set[Http2] = set()
        about = {"service": service, "max_bytes": max_bytes, "body_s": timeout_s, "connections": self._open}
        self._protocol: type[GrpcProtocol] = type("Protocol", (GrpcProtocol,), about)

    async def start(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Listen."""
        self._server = await asyncio.get_running_loop().create_server(self._protocol, sock=listener, ssl=tls)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, and let those in flight finish within the time."""
        self._server.close()
        for connection in [*self._open]:
            connection.leave()
        until = time.monotonic() + grace_s
        while self._open and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
        for connection in [*self._open]:
            connection.transport.abort()


class _Refused:
    """A call for which there is no room."""

    __slots__ = ("_protocol", "_stream")

    def __init__(self, protocol: GrpcProtocol, stream: Stream) -> None:
        self._protocol, self._stream = protocol, stream

    def answer_refusal(self) -> None:
        self._protocol._refuse(self._stream, self._protocol.service.refusal())

    def wait_for_refusal(self) -> None:
        """Nothing: a client has no more than so many streams."""


def _timeout_s(text: str | None) -> float | None:
    if text is None:
        return None
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise Status(
            "INVALID_ARGUMENT", f"grpc-timeout is '{text[:100]}'; expected up to 8 digits and a unit of HMSmun"
        )
    return int(found[1]) * _UNITS_S[found[2]]

"""HTTP/2 frame by frame, to send what no client would."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

from hpack import Decoder, Encoder

from predictors.serving.http2 import END_HEADERS, END_STREAM, Kind, frame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = frame(Kind.SETTINGS, 0, 0)
PATH = "/a.Service/Echo"
HEADERS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": PATH,
    ":authority": "here",
    "te": "trailers",
    "content-type": "application/grpc",
}


def message(content: bytes, flag: int = 0) -> bytes:
    """With gRPC's prefix."""
    return bytes((flag,)) + len(content).to_bytes(4, "big") + content


@dataclass(frozen=True, slots=True)
class Frame:
    """One that was received."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """Error code of RST_STREAM or GOAWAY."""
        return int(struct.unpack(">L", self.payload[-4:])[0])


class Connection:
    """A client that knows nothing of streams."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.encoder = Encoder()
        self._decoder = Decoder()

    async def open(self, hello: bytes = PREFACE + SETTINGS) -> Connection:
        """Connect, and send the preface."""
        self._reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.send(hello)
        return self

    async def close(self) -> None:
        """Disconnect."""
        self.writer.close()

    def send(self, *parts: bytes) -> None:
        """Send them together."""
        self.writer.write(b"".join(parts))

    def block(self, **changes: str | None) -> bytes:
        """Headers of a request, encoded; dashes are underscores, ``None`` leaves one out."""
        headers = {**HEADERS, **{_name(name): value for name, value in changes.items()}}
        return bytes(self.encoder.encode([(name, value) for name, value in headers.items() if value is not None]))

    def request(self, stream: int, content: bytes, **changes: str | None) -> bytes:
        """HEADERS and one DATA frame."""
        return frame(Kind.HEADERS, END_HEADERS, stream, self.block(**changes)) + frame(
            Kind.DATA, END_STREAM, stream, content
        )

    async def next(self, *kinds: Kind) -> Frame:
        """The next frame of these kinds, others are skipped; raises `IncompleteReadError` at the end."""
        while True:
            async with asyncio.timeout(10):
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            found = Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
            if found.kind in kinds:
                return found

    async def answer(self, stream: int) -> tuple[dict[str, str], bytes]:
        """All headers and trailers of an answer, and its body."""
        headers: dict[str, str] = {}
        body = b""
        while True:
            found = await self.next(Kind.HEADERS, Kind.DATA, Kind.RST_STREAM, Kind.GOAWAY)
            if found.kind == Kind.RST_STREAM and found.stream != stream:
                continue
            assert found.kind in (Kind.HEADERS, Kind.DATA), found
            assert found.stream == stream, found
            if found.kind == Kind.DATA:
                body += found.payload
            else:
                headers |= {str(name): str(value) for name, value in self._decoder.decode(found.payload)}
            if found.flags & END_STREAM:
                return headers, body


def _name(name: str) -> str:
    return ":" + name[1:] if name.startswith("_") else name.replace("_", "-")

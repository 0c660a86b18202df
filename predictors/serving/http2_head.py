"""The head of an HTTP/2 request, checked (RFC 9113, sections 8.2 and 8.3), and how blocks of an answer are encoded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_PSEUDO = {b":method", b":scheme", b":path", b":authority"}
_NEEDED = {b":method", b":scheme", b":path"}
_OF_CONNECTIONS = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_NO_VALUE = re.compile(rb"[\0\r\n]")
_SEVEN_BITS = 127


class Malformed(Exception):
    """A request that HTTP/2 does not allow."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the headers of a request say.

    Attributes
    ----------
    method, path
        As sent.
    headers
        The others by name, Latin-1; of one that is given twice the last.
    length
        Bytes of the body, if it is said.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    length: int | None


def read_head(pairs: Iterable[tuple[bytes, bytes]], trailers: bool) -> Head:
    """Check decoded headers.

    Raises
    ------
    Malformed
        If they are not those of a request, or with ``trailers`` not those that may follow a body.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith(b":"):
            if trailers or headers or name in pseudo or name not in _PSEUDO:
                raise Malformed
            pseudo[name] = value
            continue
        if (
            not _NAME.fullmatch(name)
            or name in _OF_CONNECTIONS
            or _NO_VALUE.search(value)
            or (name == b"te" and value != b"trailers")
        ):
            raise Malformed
        headers[name.decode("ascii")] = value.decode("latin-1")
    if not trailers and not (pseudo.keys() >= _NEEDED and pseudo[b":path"]):
        raise Malformed
    length = headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 20):
        raise Malformed
    text = {name: value.decode("latin-1") for name, value in pseudo.items()}
    return Head(text.get(b":method", ""), text.get(b":path", ""), headers, None if length is None else int(length))


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """A block of literals that no table remembers (RFC 7541, section 6.2.2)."""
    parts: list[bytes] = []
    for name, value in headers.items():
        parts += (b"\x00", _text(name), _text(value))
    return b"".join(parts)


def _text(text: str) -> bytes:
    content = text.encode("latin-1")
    length = len(content)
    if length < _SEVEN_BITS:
        return bytes((length,)) + content
    prefix, rest = [_SEVEN_BITS], length - _SEVEN_BITS
    while rest > _SEVEN_BITS:
        prefix.append(rest & _SEVEN_BITS | 0x80)
        rest >>= 7
    return bytes((*prefix, rest)) + content

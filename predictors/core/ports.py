"""Ports of this machine that nobody else is given before the process that they are for listens on them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def held_ports(count: int, host: str = "127.0.0.1") -> Iterator[list[int]]:
    """Hold free ports of a local address; whoever allows reuse (``SO_REUSEADDR``, as servers do) can listen on them.

    A port that was only looked up may be gone when the server starts: any connection out of the machine can take it.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((host, 0))
        yield [one.getsockname()[1] for one in sockets]

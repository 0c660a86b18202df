"""The replicas of a server behind one name, and free connections to each.

A name that lists several addresses (a headless service) has its requests spread over them in turn; one address (of a
ClusterIP, or of a host) is one replica, and since connections are renewed now and then, those behind it get their
share as well.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import structlog

from predictors.core.errors import NotReady
from predictors.serving.connection import Connection

_RESOLVE_S = 5.0
"""Age at which a list of addresses is read again, in the background."""
_CONNECT_S = 1.0
"""Longest time that a connection may take; who takes longer is not there."""
_REVIVE_S = 0.5
"""Between two looks at an address that took no connection."""
_IDLE_S = 30.0
"""Longest time that a free connection is used again: less than after which a server closes it."""
_AGE_S = 60.0
"""Age at which a connection is replaced."""

_log = structlog.get_logger()


class Refused(NotReady):
    """No replica took the connection, so nothing was sent."""


class Replicas:
    """Connections to all replicas; made and used on one event loop."""

    def __init__(self, host: str, port: int) -> None:
        """Nothing is looked up yet."""
        self._host, self._port = host, port
        self._fixed = _is_address(host)
        self._free: dict[str, list[Connection[Any]]] = {host: []} if self._fixed else {}
        """By address, in the order of the name server."""
        self._turn = 0
        self._down: dict[str, asyncio.Task[None]] = {}
        """Addresses that took no connection, each with the task that looks at it again."""
        self._resolved = 0.0
        self._resolving: asyncio.Task[None] | None = None

    def free(self) -> Connection[Any] | None:
        """A free connection to the replica whose turn it is, if there is one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._fixed and now - self._resolved > _RESOLVE_S and self._resolving is None:
            self._resolving = loop.create_task(self._resolve_again())
        if len(self._down) == len(self._free):
            return None
        return self._take(self._next(), now)

    async def connect(self) -> Connection[Any]:
        """A connection, to whichever replica takes it first, beginning with the one whose turn it is.

        Raises
        ------
        Refused
            If none takes it.
        """
        if not self._free:
            await self._resolve()
        loop = asyncio.get_running_loop()
        for _ in range(len(self._free)):
            address = self._next()
            connection = self._take(address, loop.time()) or await self._open(address)
            if connection is not None:
                return connection
        raise Refused(f"{self._host}:{self._port} refused the connection")

    def close(self) -> None:
        """Close the free connections, and look nowhere any more."""
        for task in (*self._down.values(), *([self._resolving] if self._resolving else [])):
            task.cancel()
        for connections in self._free.values():
            for connection in connections:
                connection.close()

    def _next(self) -> str:
        """The address whose turn it is; those that are down are left out while others are not."""
        addresses = [address for address in self._free if address not in self._down] or list(self._free)
        self._turn = (self._turn + 1) % len(addresses)
        return addresses[self._turn]

    def _take(self, address: str, now: float) -> Connection[Any] | None:
        free = self._free.get(address, [])
        while free:
            connection = free.pop()
            if not connection.lost and now - connection.idle_since < _IDLE_S:
                return connection
            connection.close()
        return None

    async def _open(self, address: str) -> Connection[Any] | None:
        """A new connection; ``None`` if the address takes none, which is then looked at in the background."""
        loop = asyncio.get_running_loop()

        def freed(connection: Connection[Any]) -> None:
            connection.idle_since = now = loop.time()
            free = self._free.get(address)
            if free is None or now - connection.born > _AGE_S:
                connection.close()
            else:
                free.append(connection)

        try:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await loop.create_connection(lambda: Connection[Any](freed), address, self._port)
        except (OSError, TimeoutError):
            if address not in self._down:
                self._down[address] = loop.create_task(self._revive(address))
            return None
        return connection

    async def _revive(self, address: str) -> None:
        """Wait until an address takes a connection again, or is gone from the list."""
        try:
            while address in self._free:
                await asyncio.sleep(_REVIVE_S)
                connection = await self._open(address)
                if connection is not None:
                    self._free.get(address, []).append(connection)
                    return
        finally:
            del self._down[address]

    async def _resolve_again(self) -> None:
        try:
            await self._resolve()
        except NotReady as wrong:
            _log.warning("addresses stay as they were", reason=str(wrong))
        finally:
            self._resolving = None

    async def _resolve(self) -> None:
        """Read the list of addresses; connections to those that are gone are closed when they are free.

        Raises
        ------
        Refused
            If the name is not known.
        """
        loop = asyncio.get_running_loop()
        self._resolved = loop.time()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as wrong:
            raise Refused(f"'{self._host}' is not known to the name server") from wrong
        addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
        for gone in self._free.keys() - addresses.keys():
            for connection in self._free.pop(gone):
                connection.close()
        for address in addresses:
            self._free.setdefault(address, [])


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

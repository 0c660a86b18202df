"""The replicas of a server behind one name, and free connections to each.

A name that lists several addresses (a headless service) has its requests spread over them in turn; one address (of a
ClusterIP, or of a host) is one replica, and since connections are renewed now and then, those behind it get their
share as well.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog

from predictors.core.errors import NotReady, WavecastError
from predictors.serving.connection import Connection

_RESOLVE_S = 5.0
"""Age at which a list of addresses is read again, in the background."""
_RESOLVE_SOON_S = 0.5
"""The same when an address took no connection: its server may have been replaced."""
_CONNECT_S = 1.0
"""Longest time that a connection, or the answer to whether a server is alive, may take."""
_EXAMINE_S = 0.5
"""Between two looks at an address that is down."""
_IDLE_S = 30.0
"""Longest time that a free connection is used again: less than after which a server closes it."""
_AGE_S = 60.0
"""Age at which a connection is replaced."""
_ALIVE = b"GET /v2/health/live HTTP/1.1\r\nhost: %s\r\n\r\n"

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
        self._down: set[str] = set()
        """Addresses that take no connection or do not answer; they are left out while others are not."""
        self._examined: dict[str, asyncio.Task[None]] = {}
        """The tasks that look whether an address is down, by address."""
        self._resolved = 0.0
        self._resolving: asyncio.Task[None] | None = None

    def free(self) -> Connection[Any] | None:
        """A free connection to the replica whose turn it is, if there is one."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._refresh(now, _RESOLVE_S)
        address = self._next()
        if address is None or address in self._down:
            return None
        return self._take(address, now)

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
        tried: set[str] = set()
        while (address := self._next(tried)) is not None:
            connection = self._take(address, loop.time())
            if connection is None:
                self._turn += 1
                connection = await self._open(address)
            if connection is not None:
                return connection
            tried.add(address)
            if self._resolving is not None and tried >= self._free.keys():
                await asyncio.shield(self._resolving)
        raise Refused(f"{self._host}:{self._port} refused the connection")

    def close(self) -> None:
        """Close the free connections, and look nowhere any more."""
        for task in (*self._examined.values(), *([self._resolving] if self._resolving else [])):
            task.cancel()
        for connections in self._free.values():
            for connection in connections:
                connection.close()

    def _next(self, tried: Collection[str] = ()) -> str | None:
        """The address whose turn it is of those not tried, one that is not down if there is one."""
        addresses = [address for address in self._free if address not in tried]
        addresses = [address for address in addresses if address not in self._down] or addresses
        return addresses[self._turn % len(addresses)] if addresses else None

    def _take(self, address: str, now: float) -> Connection[Any] | None:
        free = self._free.get(address, [])
        while free:
            connection = free.pop()
            if not connection.lost and now - connection.idle_since < _IDLE_S:
                self._turn += 1
                return connection
            connection.close()
        return None

    async def _open(self, address: str) -> Connection[Any] | None:
        """A new connection; ``None`` if the address takes none, which is then down until it does."""
        loop = asyncio.get_running_loop()

        def freed(connection: Connection[Any]) -> None:
            connection.idle_since = now = loop.time()
            free = self._free.get(address)
            if free is None or now - connection.born > _AGE_S:
                connection.close()
            else:
                free.append(connection)

        def new() -> Connection[Any]:
            return Connection[Any](freed, partial(self._examine, address))

        try:
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await loop.create_connection(new, address, self._port)
        except (OSError, TimeoutError):
            self._down.add(address)
            self._examine(address)
            self._refresh(loop.time(), _RESOLVE_SOON_S)
            return None
        return connection

    def _examine(self, address: str) -> None:
        """Look whether a server that kept somebody waiting is alive, until it is or is gone from the list."""
        if address not in self._examined:
            self._examined[address] = asyncio.get_running_loop().create_task(self._examine_until_alive(address))

    async def _examine_until_alive(self, address: str) -> None:
        try:
            while address in self._free and not await self._is_alive(address):
                self._down.add(address)
                await asyncio.sleep(_EXAMINE_S)
        finally:
            self._down.discard(address)
            del self._examined[address]

    async def _is_alive(self, address: str) -> bool:
        connection = await self._open(address)
        if connection is None:
            return False
        try:
            async with asyncio.timeout(_CONNECT_S):
                alive: bool = await connection.ask(
                    _ALIVE % self._host.encode(), lambda status, *_: status == HTTPStatus.OK
                )
                return alive
        except (WavecastError, TimeoutError):
            return False

    def _refresh(self, now: float, age_s: float) -> None:
        """Read the list of addresses again in the background, if it is older than that."""
        if not self._fixed and now - self._resolved > age_s and self._resolving is None:
            self._resolving = asyncio.get_running_loop().create_task(self._resolve_again())

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

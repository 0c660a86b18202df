"""Who may ask: keys and limits of the process that accepts bars, the same for REST and gRPC."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from predictors.core.errors import InvalidInput
from predictors.serving.keys import Access, Keyring
from predictors.serving.limits import ClientLimits
from predictors.serving.settings import PublicSettings

_OPEN_PATHS = frozenset({"/", "/metrics", "/docs", "/openapi.json"})
_OPEN_METHODS = frozenset({"ServerLive", "ServerReady", "ModelReady"})
_ADMIN_METHODS = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})


def access_of_path(path: str) -> Access | None:
    """What a REST path needs; ``None`` for health, metrics and what the server is."""
    if path.endswith("/infer"):
        return "read"
    if path in _OPEN_PATHS or path.startswith("/v2/health/") or path.endswith("/ready"):
        return None
    return "admin" if path.startswith("/v2/repository/") and not path.endswith("/index") else "read"


def access_of_method(method: str) -> Access | None:
    """What a gRPC method needs; ``None`` for health."""
    if method in _OPEN_METHODS:
        return None
    return "admin" if method in _ADMIN_METHODS else "read"


class Guard:
    """Lets requests in, one by one."""

    def __init__(self, settings: PublicSettings) -> None:
        """Read the keys.

        Raises
        ------
        InvalidInput
            If the process would be open to a network without keys.
        """
        check_exposure(settings)
        self._keys = None if settings.api_keys is None else Keyring(settings.api_keys)
        self._limits = ClientLimits(settings.rate_per_s, settings.rate_burst, settings.client_in_flight)
        self.open = self._keys is None and settings.rate_per_s is None and settings.client_in_flight is None
        """Whether everybody may always enter."""

    @contextmanager
    def enter(self, access: Access | None, header: Callable[[str], str | None], address: str) -> Iterator[None]:
        """Let a request in while it lasts.

        Parameters
        ----------
        access
            What it needs; ``None`` lets anybody in.
        header
            A header or metadata entry by its lower-case name.
        address
            Of the client, its name where there are no keys.

        Raises
        ------
        Unauthenticated, Forbidden, RateLimited
            If it may not enter.
        """
        if access is None or self.open:
            yield
            return
        name = address if self._keys is None else self._keys.check(_presented(header), access)
        with self._limits.enter(name):
            yield


def check_exposure(settings: PublicSettings) -> None:
    """Refuse to be open to a network without keys, unless told to.

    Raises
    ------
    InvalidInput
        Naming the address and what to give.
    """
    if settings.api_keys is None and not settings.insecure and not _is_loopback(settings.host):
        raise InvalidInput(
            f"host {settings.host} is open to the network and no API keys are set; "
            "give --api-keys FILE ('wavecast keys create' makes one) or --insecure"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _presented(header: Callable[[str], str | None]) -> str | None:
    scheme, _, token = (header("authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return header("x-api-key")

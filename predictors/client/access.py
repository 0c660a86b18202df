"""How a server lets its callers in: API keys and TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from predictors.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller shows, and whom it believes.

    Attributes
    ----------
    api_key
        Sent with every request as ``Authorization: Bearer KEY`` (gRPC: metadata ``authorization``).
    ca_file
        PEM file of the authority that signed the server's certificate; the system's if ``None``.
    """

    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers, and gRPC metadata alike."""
        return {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}

    def tls(self) -> ssl.SSLContext:
        """For https: certificates and host names are always verified.

        Raises
        ------
        InvalidInput
            If the file is not there or holds no certificate.
        """
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as wrong:
            raise InvalidInput(f"'{self.ca_file}' cannot be used as certificate authority: {wrong}") from wrong

    def verify(self, url: str) -> ssl.SSLContext | bool:
        """What httpx is to verify at a URL."""
        return self.tls() if url.startswith("https://") else True

    def grpc_credentials(self) -> Any:
        """The same for gRPC.

        Raises
        ------
        InvalidInput
            As `tls`.
        """
        import grpc

        self.tls()  # gRPC says nothing about a file that holds no certificate
        return grpc.ssl_channel_credentials(None if self.ca_file is None else self.ca_file.read_bytes())


def grpc_address(url: str) -> tuple[str, bool]:
    """Address ``host:port`` and whether TLS is spoken there.

    Parameters
    ----------
    url
        ``host:port`` or ``grpc://host:port``, with TLS ``grpcs://host:port``.

    Raises
    ------
    InvalidInput
        If it is anything else.
    """
    scheme, _, address = url.rpartition("://")
    host, _, port = address.rstrip("/").rpartition(":")
    if scheme not in ("", "grpc", "grpcs") or not host or not port.isdigit():
        raise InvalidInput(f"gRPC address '{url}' is not understood; write host:port, with TLS grpcs://host:port")
    return f"{host}:{port}", scheme == "grpcs"

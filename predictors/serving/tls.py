"""TLS of a server, for REST and gRPC; a renewed certificate is used without a restart."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from predictors.core.errors import InvalidInput
from predictors.serving.settings import PublicSettings

_log = structlog.get_logger()


class Certificate:
    """A certificate chain and its private key, as their files hold them now."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Read the files.

        Raises
        ------
        InvalidInput
            If they cannot be read or do not belong together.
        """
        self._cert, self._key = cert, key
        self._load()

    @classmethod
    def of(cls, settings: PublicSettings) -> Certificate | None:
        """The one that is set, if any.

        Raises
        ------
        InvalidInput
            If it cannot be used, or only one of its two files is given.
        """
        cert, key = settings.tls_cert, settings.tls_key
        if cert is not None and key is not None:
            return cls(cert, key)
        if cert is not None or key is not None:
            raise InvalidInput("TLS needs a certificate and its key; give --tls-cert and --tls-key")
        return None

    def context(self, *protocols: str) -> ssl.SSLContext:
        """A context for a server that speaks these ALPN protocols; each handshake uses the newest certificate."""
        first = newest = self._load(protocols)
        known = self._stamp()

        def renew(connection: Any, name: str | None, context: ssl.SSLContext) -> None:
            nonlocal newest, known
            del name, context
            stamp = self._stamp()
            if stamp != known:
                known = stamp
                try:
                    newest = self._load(protocols)
                except InvalidInput as wrong:
                    _log.error("the certificate stays as it was", error=str(wrong))
            connection.context = newest

        first.sni_callback = renew
        return first

    def _load(self, protocols: Sequence[str] = ()) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._cert, self._key)
        except OSError as wrong:  # ssl.SSLError is one
            raise InvalidInput(
                f"certificate {self._cert.name} with key {self._key.name} cannot be used: {wrong.strerror or wrong}"
            ) from wrong
        if protocols:
            context.set_alpn_protocols(protocols)
        return context

    def _stamp(self) -> tuple[int, ...]:
        try:
            return tuple(path.stat().st_mtime_ns for path in (self._cert, self._key))
        except OSError:
            return ()


def trust(cert: Path) -> ssl.SSLContext:
    """A client's context that takes exactly the server with this certificate, by whatever name it is reached."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cert)
    return context

"""TLS of a server, for REST and gRPC; a renewed certificate is used without a restart."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import grpc
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
        self._rest_stamp = self._grpc_stamp = self._stamp()
        self._context = self._load()

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

    def rest(self) -> ssl.SSLContext:
        """A context for the REST server; each handshake uses the newest certificate."""

        def renew(connection: Any, name: str | None, context: ssl.SSLContext) -> None:
            del name, context
            stamp = self._stamp()
            if stamp != self._rest_stamp:
                self._rest_stamp = stamp
                try:
                    self._context = self._load()
                except InvalidInput as wrong:
                    _log.error("the certificate stays as it was", error=str(wrong))
            connection.context = self._context

        first = self._load()
        first.sni_callback = renew
        return first

    def grpc(self) -> grpc.ServerCredentials:
        """Credentials for the gRPC server; each handshake uses the newest certificate."""

        def renew() -> Any:
            stamp = self._stamp()
            if stamp == self._grpc_stamp:
                return None
            self._grpc_stamp = stamp
            try:
                self._load()
            except InvalidInput as wrong:
                _log.error("the certificate stays as it was", error=str(wrong))
                return None
            return self._configuration()

        return grpc.dynamic_ssl_server_credentials(self._configuration(), renew)

    def _configuration(self) -> Any:
        return grpc.ssl_server_certificate_configuration([(self._key.read_bytes(), self._cert.read_bytes())])

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._cert, self._key)
        except OSError as wrong:  # ssl.SSLError is one
            raise InvalidInput(
                f"certificate {self._cert.name} with key {self._key.name} cannot be used: {wrong.strerror or wrong}"
            ) from wrong
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

"""Synchronous and asynchronous clients of the public model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import httpx
import pandas as pd

from predictors.client import rest_wire
from predictors.client.access import Access, grpc_address
from predictors.client.frame import to_frame, to_windows
from predictors.client.sdk_import import hidden_arguments
from predictors.core.errors import InvalidInput, NotReady

Protocol = Literal["rest", "grpc"]

WINDOW_BARS = 128


# A connection that was refused is tried once more; a request that was sent is never sent again, because
# its deadline may have passed and the server may be busy with it. Whether to ask again is the caller's choice.
_CONNECT_RETRIES = 1


class Client:
    """Connections to one server, kept open from one forecast to the next.

    Use it as a context manager, or close it; threads may share it. Only connecting is retried, once.
    """

    def __init__(
        self,
        url: str,
        protocol: Protocol = "rest",
        timeout_s: float = 10.0,
        api_key: str | None = None,
        ca_file: str | Path | None = None,
    ) -> None:
        """Connect lazily.

        Parameters
        ----------
        url
            ``http://host:port`` or ``https://...`` for REST; ``host:port``, or ``grpcs://host:port``
            with TLS, for gRPC (which needs the extra ``serving``).
        protocol
            ``rest`` or ``grpc``.
        timeout_s
            Deadline of a request, which the server knows too.
        api_key
            Shown to the server with every request.
        ca_file
            PEM file of the authority that signed the server's certificate; the system's if not given.

        Raises
        ------
        InvalidInput
            If an argument is none of these.
        """
        _check(protocol)
        access = _access(api_key, ca_file)
        self._url, self._timeout_s = url, timeout_s
        self._http = None
        if protocol == "rest":
            transport = httpx.HTTPTransport(retries=_CONNECT_RETRIES, verify=access.verify(url))
            self._http = httpx.Client(base_url=url, timeout=timeout_s, headers=access.headers, transport=transport)
        else:
            with hidden_arguments():
                from predictors.serving.grpc_client import GrpcClient

            self._grpc = GrpcClient(*_grpc(url, access))

    def forecast(
        self,
        bars: pd.DataFrame,
        bars_per_year: float = 252.0,
        window_bars: int = WINDOW_BARS,
        max_age_s: int | None = None,
    ) -> pd.DataFrame:
        """Forecast the volatility after the last bar of the table, or of each of its symbols.

        Parameters
        ----------
        bars
            As `predictors.client.frame.to_windows` takes them.
        bars_per_year
            For the annualised volatility.
        window_bars
            Bars to send per symbol; a release says in its metadata how many it needs.
        max_age_s
            Refuse bars whose last time is older, in seconds.

        Returns
        -------
        As `predictors.client.frame.to_frame` makes it.

        Raises
        ------
        WavecastError
            The class that matches the server's status.
        """
        windows = to_windows(bars, window_bars)
        parameters = _parameters(self._timeout_s, max_age_s)
        if self._http is not None:
            body, headers = rest_wire.encode(windows.tensors, parameters)
            try:
                response = self._http.post(rest_wire.PATH, content=body, headers=headers)
            except httpx.TransportError as wrong:
                raise NotReady(f"{self._url} cannot be reached: {wrong}") from wrong
            return to_frame(windows, *rest_wire.decode(response), bars_per_year)
        answer = self._grpc.infer("wavecast", windows.tensors, parameters, self._timeout_s)
        return to_frame(windows, answer.tensors, answer.parameters, bars_per_year)

    def close(self) -> None:
        """Close the connection."""
        (self._http or self._grpc).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """The same for asyncio; it belongs to the event loop it is first used on."""

    def __init__(
        self,
        url: str,
        protocol: Protocol = "rest",
        timeout_s: float = 10.0,
        api_key: str | None = None,
        ca_file: str | Path | None = None,
    ) -> None:
        """Connect lazily; parameters and errors as those of `Client`."""
        _check(protocol)
        access = _access(api_key, ca_file)
        self._url, self._timeout_s = url, timeout_s
        self._http = None
        if protocol == "rest":
            transport = httpx.AsyncHTTPTransport(retries=_CONNECT_RETRIES, verify=access.verify(url))
            self._http = httpx.AsyncClient(base_url=url, timeout=timeout_s, headers=access.headers, transport=transport)
        else:
            with hidden_arguments():
                from predictors.serving.grpc_client import AsyncGrpcClient

            self._grpc = AsyncGrpcClient(*_grpc(url, access))

    async def forecast(
        self,
        bars: pd.DataFrame,
        bars_per_year: float = 252.0,
        window_bars: int = WINDOW_BARS,
        max_age_s: int | None = None,
    ) -> pd.DataFrame:
        """As `Client.forecast`."""
        windows = to_windows(bars, window_bars)
        parameters = _parameters(self._timeout_s, max_age_s)
        if self._http is not None:
            body, headers = rest_wire.encode(windows.tensors, parameters)
            try:
                response = await self._http.post(rest_wire.PATH, content=body, headers=headers)
            except httpx.TransportError as wrong:
                raise NotReady(f"{self._url} cannot be reached: {wrong}") from wrong
            return to_frame(windows, *rest_wire.decode(response), bars_per_year)
        answer = await self._grpc.infer("wavecast", windows.tensors, parameters, self._timeout_s)
        return to_frame(windows, answer.tensors, answer.parameters, bars_per_year)

    async def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            await self._http.aclose()
        else:
            await self._grpc.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _check(protocol: str) -> None:
    if protocol not in ("rest", "grpc"):
        raise InvalidInput(f"protocol '{protocol}' is unknown; use rest or grpc")


def _access(api_key: str | None, ca_file: str | Path | None) -> Access:
    return Access(api_key, None if ca_file is None else Path(ca_file))


def _grpc(url: str, access: Access) -> tuple[str, Any, dict[str, str]]:
    """Address, credentials and metadata."""
    address, tls = grpc_address(url)
    return address, access.grpc_credentials() if tls else None, access.headers


def _parameters(timeout_s: float, max_age_s: int | None) -> dict[str, Any]:
    parameters = {"timeout": max(1, int(timeout_s * 1e6))}
    return parameters if max_age_s is None else {**parameters, "max_age_s": max_age_s}

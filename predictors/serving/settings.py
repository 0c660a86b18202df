"""Settings of each process, from flags and from environment variables ``WAVECAST_*``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from predictors.core.errors import InvalidInput

PREFIX = "WAVECAST_"


class ServerSettings(BaseSettings):
    """Settings that every server has."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True, cli_kebab_case=True
    )

    host: str = "127.0.0.1"
    """Address to listen on, for REST and gRPC; 0.0.0.0 in a container."""
    http_port: int = Field(8080, ge=0, le=65535)
    """Port of the REST server; 0 takes a free one."""
    grpc_port: int = Field(8081, ge=0, le=65535)
    """Port of the gRPC server; 0 takes a free one."""
    max_batch: int = Field(1024, ge=1)
    """Most windows in one request."""
    max_bytes: int = Field(16 * 2**20, ge=1024)
    """Largest body of a request, in bytes."""
    timeout_s: float = Field(10.0, gt=0)
    """Longest time that a request may take, in seconds; its parameter `timeout` can only shorten it."""
    grace_s: float = Field(20.0, ge=0)
    """Time that requests in flight have to finish after SIGTERM, in seconds."""
    worker_threads: int = Field(2, ge=1)
    """Threads for batches that are too large to be computed on the event loop."""
    inline_rows: int = Field(4, ge=0)
    """Windows up to which a request is computed on the event loop (about 1 ms)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe event that is logged; `info` writes a line for each inference that is sampled."""
    log_sample: float = Field(1.0, ge=0, le=1)
    """Share of the inferences that are logged; those that fail always are, refusals are only counted."""
    log_per_s: float = Field(100.0, ge=0)
    """Most good inferences that are logged in a second: a line costs a tenth of an inference."""


class PublicSettings(ServerSettings):
    """Settings of a process that accepts bars: who may ask, and how much."""

    max_bars: int = Field(4096, ge=1)
    """Most bars in one window."""
    api_keys: Path | None = None
    """File of the API keys, made by `wavecast keys`; without it anybody who reaches the server may ask."""
    insecure: bool = False
    """Serve an address that is open to the network without keys."""
    tls_cert: Path | None = None
    """Certificate chain of the server, PEM, for REST and gRPC; read again when it changes."""
    tls_key: Path | None = None
    """Its private key, PEM."""
    cors_origins: list[str] = []
    """Origins whose pages may ask from a browser, for example ["https://app.example"]; ["*"] for all."""
    rate_per_s: float | None = Field(None, gt=0)
    """Requests per second of one key (of one address, without keys); no limit if not set."""
    rate_burst: int = Field(20, ge=1)
    """Requests that may come at once before the rate counts."""
    client_in_flight: int | None = Field(None, ge=1)
    """Requests of one key (of one address, without keys) at the same time; no limit if not set."""
    max_waiting: int = Field(256, ge=1)
    """Most inferences that wait for their turn; more are refused with 503."""
    max_wait_s: float = Field(0.25, gt=0)
    """Longest that an inference may have to wait for its turn, in seconds; else it is refused with 503."""
    cache_windows: int = Field(0, ge=0)
    """Windows whose answers are kept, to be given again for the same bars; 0 keeps none."""
    log_payload: bool = False
    """Write the bars into the log of requests too."""


class MemberSettings(ServerSettings):
    """Settings of a member's predictor."""

    model_dir: Path = Path("/mnt/models")
    """Directory of the artifact: manifest.json, model.onnx, golden.npz."""


class RouterSettings(ServerSettings):
    """Settings of the ensemble router."""

    model_dir: Path = Path("/mnt/models")
    """Directory of the release: release.json, golden.npz."""
    members: dict[str, str]
    """REST address of each member by its kind, for example xgboost=127.0.0.1:9001."""
    min_members: int = Field(1, ge=1)
    """Fewest members whose answers make a forecast."""
    members_wait_s: float = Field(30.0, ge=0)
    """Time after the start in which all members are waited for, in seconds; then those that are ready will do."""
    retry_s: float = Field(0.1, ge=0)
    """Longest time that a request waits for a member that refuses the connection, in seconds; 0 is never."""
    breaker_failures: int = Field(3, ge=1)
    """Failures in a row after which a member is probed; if the probe fails too, it is left out."""
    breaker_patience_s: float = Field(1.0, gt=0)
    """An answer that takes longer has the member probed; a probe that takes longer has failed. In seconds."""
    breaker_pause_s: float = Field(0.5, gt=0)
    """Time between two probes of a member that is left out, in seconds."""


class WaveletSettings(PublicSettings):
    """Settings of the wavelet transformer, the process that accepts bars."""

    model_dir: Path = Path("/mnt/models")
    """Directory of the release: release.json, golden.npz."""
    predictor_host: str
    """REST address of the router, host:port."""


class ServeSettings(PublicSettings):
    """Settings of `wavecast serve`."""

    store: str = ".wavecast/store"
    """Store to serve from: a path, file:// or s3://."""
    release: str | None = None
    """Release to serve; the newest one if none is named."""
    layout: Literal["embedded", "processes"] = "embedded"
    """One process, or one for the wavelets, one for the router and one per member."""
    min_members: int = Field(1, ge=1)
    """Fewest members whose answers make a forecast."""


_PROCESSES = (MemberSettings, RouterSettings, WaveletSettings, ServeSettings)
_COMMANDS = {PREFIX + "DEBUG", PREFIX + "CHART"}  # of `wavecast` itself; a server of the same shell has them too
_KNOWN = {PREFIX + name.upper() for process in _PROCESSES for name in process.model_fields} | _COMMANDS
# Kubernetes puts these into every pod beside a Service named wavecast.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP).*)?$")
_Settings = TypeVar("_Settings", bound=ServerSettings)


def read_settings(
    process: type[_Settings], flags: Mapping[str, object] | None = None, arguments: Sequence[str] | None = None
) -> _Settings:
    """Settings from flags, then from the environment, then the defaults.

    Parameters
    ----------
    process
        Whose settings.
    flags
        By field name.
    arguments
        A command line to parse instead; ``--http-port`` and ``--http_port`` are the same.

    Raises
    ------
    InvalidInput
        Naming the first setting that is unknown or wrong.
    """
    unknown = sorted(k for k in os.environ if k.startswith(PREFIX) and k not in _KNOWN and not _SERVICE_LINK.search(k))
    if unknown:
        raise InvalidInput(f"environment variable {unknown[0]} is not a setting; known are {', '.join(sorted(_KNOWN))}")
    try:
        if arguments is None:
            return process(**(flags or {}))  # type: ignore[arg-type]
        dashed = [re.sub(r"^--[^=]+", lambda flag: flag[0].replace("_", "-"), part) for part in arguments]
        return process(_cli_parse_args=dashed)  # type: ignore[call-arg]
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f" = {first['input']!r}"
        raise InvalidInput(f"setting '{name}'{given}: {first['msg'].lower()}") from wrong
    except SettingsError as wrong:
        raise InvalidInput(f"settings: {wrong}") from wrong

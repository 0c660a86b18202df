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
    """Least severe event that is logged; `info` writes one line per request."""


class MemberSettings(ServerSettings):
    """Settings of a member's predictor."""

    model_dir: Path = Path("/mnt/models")
    """Directory of the artifact: manifest.json, model.onnx, golden.npz."""


class RouterSettings(ServerSettings):
    """Settings of the ensemble router."""

    model_dir: Path = Path("/mnt/models")
    """Directory of the release: release.json, golden.npz."""
    members: dict[str, str]
    """gRPC address of each member by its kind, for example xgboost=127.0.0.1:9001."""
    min_members: int = Field(1, ge=1)
    """Fewest members whose answers make a forecast."""


class WaveletSettings(ServerSettings):
    """Settings of the wavelet transformer, the process that accepts bars."""

    model_dir: Path = Path("/mnt/models")
    """Directory of the release: release.json, golden.npz."""
    predictor_host: str
    """gRPC address of the router, host:port."""
    max_bars: int = Field(4096, ge=1)
    """Most bars in one window."""


class ServeSettings(ServerSettings):
    """Settings of `wavecast serve`."""

    store: str = ".wavecast/store"
    """Store to serve from: a path, file:// or s3://."""
    release: str | None = None
    """Release to serve; the newest one if none is named."""
    layout: Literal["embedded", "processes"] = "embedded"
    """One process, or one for the wavelets, one for the router and one per member."""
    min_members: int = Field(1, ge=1)
    """Fewest members whose answers make a forecast."""
    max_bars: int = Field(4096, ge=1)
    """Most bars in one window."""


_PROCESSES = (MemberSettings, RouterSettings, WaveletSettings, ServeSettings)
_KNOWN = {PREFIX + name.upper() for process in _PROCESSES for name in process.model_fields} | {PREFIX + "DEBUG"}
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

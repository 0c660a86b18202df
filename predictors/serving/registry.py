"""The models of one process, as both transports see them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version as library_version
from typing import Any, Protocol

import structlog

from predictors.core.errors import InvalidInput, NotFound
from predictors.serving.ensemble import MODEL
from predictors.serving.model import V2Model

RELEASE_HEADER = "x-wavecast-release"
"""Header, and gRPC metadata, that picks one of the loaded releases."""

_RELEASE = re.compile(r"[0-9a-f]{12}")
_log = structlog.get_logger()


class Releases(Protocol):
    """A store's releases, as `predictors.serving.repository.Repository` has them."""

    def releases(self) -> list[str]:
        """Identifiers of all of them."""

    def load(self, release: str) -> list[V2Model]:
        """The models of one (empty for the newest), the public one first."""


class Registry:
    """Models by name and version, with their health and the log of what they were asked.

    The newest version is the one that answers when none is named. Where there is a repository, a
    further release is loaded beside those that answer, and becomes the newest when its golden windows
    were replayed; to load one that is loaded already makes it the newest again.
    """

    def __init__(self, models: Sequence[V2Model], repository: Releases | None = None) -> None:
        self._versions: dict[str, dict[str, V2Model]] = {}
        self._repository = repository
        self._changing = asyncio.Lock()
        self._add(models)

    @property
    def models(self) -> dict[str, V2Model]:
        """By name, the version of each that answers when none is named."""
        return {name: versions[next(reversed(versions))] for name, versions in self._versions.items()}

    def find(self, model: str, version: str = "", release: str | None = None) -> V2Model:
        """A model by name and version.

        Parameters
        ----------
        model
            Its name.
        version
            Of the path; empty for the newest.
        release
            Of the header `RELEASE_HEADER`, if there is one; the version of the public model, and of no other.

        Raises
        ------
        NotFound
            Naming what is loaded.
        InvalidInput
            If path and header name different ones.
        """
        versions = self._versions.get(model)
        if versions is None:
            raise NotFound(f"model '{model}' is unknown; loaded are {', '.join(sorted(self._versions))}")
        if release is not None and model == MODEL:
            if version and version != release:
                raise InvalidInput(f"header '{RELEASE_HEADER}' is '{release}', but the version is '{version}'")
            if not release:
                raise NotFound(f"header '{RELEASE_HEADER}' is empty; loaded is {_quoted(versions)}")
            version = release
        if not version:
            return versions[next(reversed(versions))]
        if version not in versions:
            raise NotFound(f"model '{model}' has no version '{version}'; loaded is {_quoted(versions)}")
        return versions[version]

    def metadata(self, found: V2Model) -> dict[str, Any]:
        """Metadata of a model, with the versions that are loaded, the newest last."""
        return {**found.metadata(), "versions": list(self._versions[found.name])}

    async def not_ready(self) -> list[str]:
        """Names of the models that cannot answer now."""
        models = self.models
        states = await asyncio.gather(*(model.healthy() for model in models.values()))
        return [name for name, ready in zip(models, states, strict=True) if not ready]

    def server(self) -> dict[str, Any]:
        """Server metadata."""
        extensions = ["binary_tensor_data", "parameters"]
        if self._repository is not None:
            extensions.append("model_repository")
        return {"name": "wavecast", "version": library_version("wavecast"), "extensions": extensions}

    def about(self) -> dict[str, Any]:
        """What this server is, for people who look at its root."""
        return {
            "name": "wavecast",
            "version": library_version("wavecast"),
            "about": "volatility forecasts over the V2 protocol",
            "models": {name: model.version for name, model in self.models.items()},
            "docs": "/docs",
        }

    def label(self, model: str) -> str:
        """A model's name for metrics, which must not grow with what clients ask for."""
        return model if model in self._versions else "unknown"

    async def index(self, ready_only: bool) -> list[dict[str, str]]:
        """Every loaded version and its state, and the releases of the store that are not loaded."""
        entries = []
        for name, versions in self._versions.items():
            for version, model in versions.items():
                state = "READY" if await model.healthy() else "UNAVAILABLE"
                entries.append({"name": name, "version": version, "state": state, "reason": ""})
        if self._repository is not None:
            for release in await asyncio.to_thread(self._repository.releases):
                if release not in self._versions[MODEL]:
                    entries.append({"name": MODEL, "version": release, "state": "UNAVAILABLE", "reason": "not loaded"})
        return [entry for entry in entries if entry["state"] == "READY" or not ready_only]

    async def load(self, model: str, release: str) -> str:
        """Load a release (empty for the newest of the store), while the others answer.

        Returns
        -------
        The release that now answers when none is named.

        Raises
        ------
        InvalidInput
            If this process has no store, or the model is not loaded by itself.
        NotFound
            If the store has no such release.
        ArtifactError, StoreError, NotReady
            If it cannot be read, was altered, or answers its golden windows otherwise.
        """
        repository = self._may_change(model)
        if release and not _RELEASE.fullmatch(release):
            raise NotFound(f"release '{release}' is not in the store; a release is named by 12 hexadecimal digits")
        async with self._changing:
            models = await asyncio.to_thread(repository.load, release)
            self._add(models)
        _log.warning("release loaded", release=models[0].version)
        return models[0].version

    async def unload(self, model: str, release: str) -> None:
        """Let go of a release; what it is answering is finished.

        Raises
        ------
        InvalidInput
            If it is the one that answers when none is named, or none is given.
        NotFound
            If it is not loaded.
        """
        self._may_change(model)
        loaded = self._versions[MODEL]
        if not release:
            raise InvalidInput(f"parameter 'release' is missing; loaded is {_quoted(loaded)}")
        async with self._changing:
            going = self.find(MODEL, release)
            if going is self.models[MODEL]:
                raise InvalidInput(
                    f"release '{release}' answers when none is named, so it stays; load another one first"
                )
            del loaded[release]
            needed = {(kind, version) for left in loaded.values() for kind, version in left.members.items()}
            for kind, version in going.members.items():
                if (kind, version) not in needed:
                    del self._versions[kind][version]
                    if not self._versions[kind]:
                        del self._versions[kind]
        _log.warning("release unloaded", release=release)

    def _may_change(self, model: str) -> Releases:
        if self._repository is None:
            raise InvalidInput("this process serves the one release it was started with; start another one beside it")
        self.find(model)
        if model != MODEL:
            raise InvalidInput(f"model '{model}' is loaded with its release; load or unload '{MODEL}'")
        return self._repository

    def _add(self, models: Iterable[V2Model]) -> None:
        """Put models behind those that are there, so that they are the newest."""
        for model in models:
            versions = self._versions.setdefault(model.name, {})
            versions.pop(model.version, None)
            versions[model.version] = model


def _quoted(versions: Iterable[str]) -> str:
    return ", ".join(f"'{version}'" for version in versions)

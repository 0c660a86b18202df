"""The models of one process, as both transports see them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from importlib.metadata import version as library_version
from typing import Any

import structlog

from predictors.core.errors import NotFound, WavecastError
from predictors.serving.model import V2Model
from predictors.serving.tensors import Request

_log = structlog.get_logger()


class Registry:
    """Models by name, with their health and the log of what they were asked."""

    def __init__(self, models: Sequence[V2Model]) -> None:
        self.models = {model.name: model for model in models}

    def find(self, model: str, version: str = "") -> V2Model:
        """A model by name and version (empty for any).

        Raises
        ------
        NotFound
            Naming what is loaded.
        """
        found = self.models.get(model)
        if found is None:
            raise NotFound(f"model '{model}' is unknown; loaded are {', '.join(sorted(self.models))}")
        found.check_version(version)
        return found

    async def not_ready(self) -> list[str]:
        """Names of the models that cannot answer now."""
        states = await asyncio.gather(*(model.healthy() for model in self.models.values()))
        return [name for name, ready in zip(self.models, states, strict=True) if not ready]

    def server(self) -> dict[str, Any]:
        """Server metadata."""
        return {"name": "wavecast", "version": library_version("wavecast"), "extensions": ["binary_tensor_data"]}

    def log(self, protocol: str, model: str, started: float, request: Request | None, error: Exception | None) -> None:
        """One line for one inference; ``started`` is of `time.perf_counter`."""
        facts: dict[str, Any] = {"protocol": protocol, "model": model}
        facts["ms"] = round(1e3 * (time.perf_counter() - started), 3)
        if request is not None:
            facts["rows"] = len(next(iter(request.tensors.values())))
            if request.id:
                facts["id"] = request.id
        if error is None:
            _log.info("infer", code="OK", **facts)
        else:
            code = error.grpc_code if isinstance(error, WavecastError) else "INTERNAL"
            _log.info("infer", code=code, error=str(error), **facts)

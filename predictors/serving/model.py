"""What every V2 model of the project is: a KServe custom predictor with declared tensors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kserve import Model
from kserve.metrics import PREDICT_HIST_TIME

from predictors.core.errors import DeadlineExceeded, InvalidInput, NotFound, NotReady
from predictors.serving.tensors import Request, Response, Scalar, TensorSpec, check_answer


class V2Model(Model):  # type: ignore[misc]  # kserve ships no types
    """Base of the servers' models.

    A subclass declares its tensors, verifies its files in `load` and answers in `predict`; it sets
    ``ready`` only after its golden windows were replayed.

    Attributes
    ----------
    version
        The one version that is loaded.
    platform, inputs, outputs, facts
        Metadata: what runs it, its tensors, and limits and other scalars.
    """

    platform = "onnxruntime_onnx"
    version: str
    inputs: Mapping[str, TensorSpec]
    outputs: tuple[TensorSpec, ...]
    facts: Mapping[str, Scalar]

    def __init__(self, name: str, timeout_s: float) -> None:
        super().__init__(name)
        self._timeout_s = timeout_s
        self._seconds = PREDICT_HIST_TIME.labels(model_name=name)

    def start(self) -> None:
        """Do nothing: the SDK's version declares a model ready that never loaded."""

    async def warm_up(self) -> None:
        """Become ready where that needs other processes; called once the server listens."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs as the SDK's metadata wants them."""
        return [_described(spec) for spec in self.inputs.values()]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs as the SDK's metadata wants them."""
        return [_described(spec) for spec in self.outputs]

    async def predict(self, payload: Request, headers: Mapping[str, str] | None = None) -> Response:
        """Answer a checked request."""
        raise NotImplementedError

    def check_version(self, version: str) -> None:
        """Refuse a version that is not loaded; empty means any.

        Raises
        ------
        NotFound
            Naming both versions.
        """
        if version and version != self.version:
            raise NotFound(f"model '{self.name}' has no version '{version}'; loaded is '{self.version}'")

    async def answer(self, request: Request, timeout_s: float | None = None) -> Response:
        """Answer a request within its deadline.

        Parameters
        ----------
        request
            As decoded.
        timeout_s
            What the transport leaves, in seconds.

        Raises
        ------
        NotReady, DeadlineExceeded, InvalidInput, WavecastError
            As the V2 codes of the contract.
        """
        if not self.ready:
            raise NotReady(f"model '{self.name}' is not ready")
        budget = self._budget(request.parameters.get("timeout"), timeout_s)
        deadline = time.monotonic() + budget
        try:
            with self._seconds.time():
                async with asyncio.timeout(budget):
                    response = await self.predict(replace(request, deadline=deadline))
        except TimeoutError as late:
            raise DeadlineExceeded(
                f"model '{self.name}' did not answer before its deadline of {budget:.6g} s"
            ) from late
        check_answer(response, self.name)
        return response

    def _budget(self, parameter: Scalar | None, transport_s: float | None) -> float:
        budgets = [self._timeout_s]
        if parameter is not None:
            if type(parameter) is not int or parameter <= 0:
                raise InvalidInput(f"parameter 'timeout' is {parameter!r}; expected a positive integer, microseconds")
            budgets.append(parameter / 1e6)
        if transport_s is not None:
            budgets.append(transport_s)
        return min(budgets)


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def check_spec(parameters: Mapping[str, Scalar], spec_hash: str, name: str) -> None:
    """Refuse features of another `FeatureSpec`.

    Raises
    ------
    InvalidInput
        If the parameter ``spec`` is missing or not ``spec_hash``.
    """
    given = parameters.get("spec")
    if given != spec_hash:
        raise InvalidInput(f"parameter 'spec' is {given!r}; model '{name}' reads features of spec '{spec_hash}'")

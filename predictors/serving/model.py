"""What every V2 model of the project is: a KServe custom predictor with declared tensors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from kserve import Model
from kserve.metrics import PREDICT_HIST_TIME

from predictors.core.errors import DeadlineExceeded, InvalidInput, NotReady, WavecastError
from predictors.serving.tensors import Request, Response, Scalar, TensorSpec, check_answer

_WIRE_PARAMETERS = ("binary_data_output",)
"""Of a request as a whole, understood by the codecs."""
SERIES_LENGTH = 128

Done = Callable[[Response | Exception], None]
"""Takes an answer, or why there is none."""


class V2Model(Model):  # type: ignore[misc]  # kserve ships no types
    """Base of the servers' models.

    A subclass declares its tensors, verifies its files in `load` and answers in `respond`; it sets
    ``ready`` only after its golden windows were replayed.

    Attributes
    ----------
    version
        The one version that is loaded.
    platform, inputs, outputs, facts
        Metadata: what runs it, its tensors, and limits and other scalars.
    request_parameters
        Names of those that a request may have; another one is refused, because a misspelt
        ``max_age_s`` must not pass for none.
    immediate, prompt
        Whether `respond_now`, or `respond_then`, answers small requests.
    members
        Versions of the members of a release, by kind.
    """

    platform = "onnxruntime_onnx"
    version: str
    inputs: Mapping[str, TensorSpec]
    outputs: tuple[TensorSpec, ...]
    facts: Mapping[str, Scalar]
    request_parameters: tuple[str, ...]
    immediate = False
    prompt = False

    def __init__(self, name: str, timeout_s: float) -> None:
        super().__init__(name)
        self.members: Mapping[str, str] = {}
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
        """Answer a decoded request, as the SDK wants it."""
        return await self.answer(payload, time.monotonic())

    async def respond(self, request: Request, deadline: float) -> Response:
        """Answer a checked request before ``deadline`` (`time.monotonic` seconds)."""
        raise NotImplementedError

    def respond_now(self, request: Request) -> Response | None:
        """The same without waiting for anything; ``None`` if that is not possible."""
        del request
        return None

    def respond_then(self, request: Request, deadline: float, done: Done) -> bool:
        """The same by other processes, without a task that waits for them.

        ``done`` is called once, with a `TimeoutError` if it was too late, unless this raises or returns false.
        """
        del request, deadline, done
        return False

    def metadata(self) -> dict[str, Any]:
        """What a client must know to build a request."""
        optional = ",".join(spec.name for spec in self.inputs.values() if spec.optional)
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.platform,
            "inputs": self.get_input_types(),
            "outputs": self.get_output_types(),
            "parameters": {
                **self.facts,
                "optional_inputs": optional,
                "request_parameters": ",".join(self.request_parameters),
            },
        }

    def deadline(self, request: Request, arrived: float, transport_s: float | None = None) -> float:
        """When the answer is worth nothing any more, in `time.monotonic` seconds.

        Parameters
        ----------
        request
            Its parameter ``timeout`` can shorten the server's own.
        arrived
            `time.monotonic` seconds; time spent waiting counts.
        transport_s
            What the transport left at arrival, in seconds.

        Raises
        ------
        InvalidInput
            If ``timeout`` is no positive integer.
        """
        return arrived + self._budget(request.parameters.get("timeout"), transport_s)

    def answer_now(self, request: Request, arrived: float, transport_s: float | None = None) -> Response | None:
        """As `answer`, if nothing has to be waited for; ``None`` otherwise."""
        deadline = self._admit(request, arrived, transport_s)
        started = time.monotonic()
        if started >= deadline:
            raise self._late(deadline - arrived)
        response = self.respond_now(request)
        if response is not None:
            self._seconds.observe(time.monotonic() - started)
            check_answer(response, self.name)
        return response

    def answer_then(self, request: Request, arrived: float, transport_s: float | None, done: Done) -> bool:
        """As `answer`, by `respond_then`."""
        deadline = self._admit(request, arrived, transport_s)
        started = time.monotonic()
        if started >= deadline:
            raise self._late(deadline - arrived)

        def answered(outcome: Response | Exception) -> None:
            if isinstance(outcome, TimeoutError):
                outcome = self._late(deadline - arrived)
            elif isinstance(outcome, Response):
                self._seconds.observe(time.monotonic() - started)
                try:
                    check_answer(outcome, self.name)
                except WavecastError as wrong:
                    outcome = wrong
            done(outcome)

        return self.respond_then(request, deadline, answered)

    async def answer(self, request: Request, arrived: float, transport_s: float | None = None) -> Response:
        """Answer a request within its deadline.

        Parameters
        ----------
        request
            As decoded.
        arrived, transport_s
            As for `deadline`.

        Raises
        ------
        NotReady, DeadlineExceeded, InvalidInput, WavecastError
            As the V2 codes of the contract.
        """
        if self.immediate:
            response = self.answer_now(request, arrived, transport_s)
            if response is not None:
                return response
        deadline = self._admit(request, arrived, transport_s)
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._late(deadline - arrived)
        try:
            with self._seconds.time():
                async with asyncio.timeout(left):
                    response = await self.respond(request, deadline)
        except TimeoutError as late:
            raise self._late(deadline - arrived) from late
        check_answer(response, self.name)
        return response

    def _admit(self, request: Request, arrived: float, transport_s: float | None) -> float:
        """The deadline of a request that may be answered."""
        if not self.ready:
            raise NotReady(f"model '{self.name}' is not ready")
        self._check_parameters(request.parameters)
        return self.deadline(request, arrived, transport_s)

    def _late(self, budget_s: float) -> DeadlineExceeded:
        return DeadlineExceeded(f"model '{self.name}' did not answer before its deadline of {budget_s:.6g} s")

    def _check_parameters(self, parameters: Mapping[str, Scalar]) -> None:
        if not parameters:
            return
        unknown = parameters.keys() - {*self.request_parameters, *_WIRE_PARAMETERS}
        if unknown:
            expected = ", ".join(self.request_parameters)
            raise InvalidInput(f"parameter {min(unknown)!r} is unknown; model '{self.name}' takes {expected}")
        series = parameters.get("series", "")
        if not isinstance(series, str) or len(series) > SERIES_LENGTH or not (series.isprintable()):
            raise InvalidInput(
                f"parameter 'series' is {series!r}; expected printable text of at most {SERIES_LENGTH} characters"
            )

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

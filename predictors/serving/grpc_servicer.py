"""V2 gRPC service.

It replaces the SDK's servicer and interceptors, which turn a model that is not ready into UNKNOWN,
a wrong shape into INTERNAL, and load a model on the event loop when it is asked for.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import structlog
from google.protobuf.message import DecodeError
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from predictors.core.errors import InvalidInput, WavecastError
from predictors.serving.grpc_codec import decode_request, encode_response
from predictors.serving.grpc_protocol import GrpcCall, Reply, Status
from predictors.serving.inference import Call, Inferences
from predictors.serving.intake import Intake, retry_metadata
from predictors.serving.message import told
from predictors.serving.metrics import METRICS
from predictors.serving.model import V2Model
from predictors.serving.registry import RELEASE_HEADER, Registry
from predictors.serving.tensors import Request, Response
from predictors.serving.work import Worker

_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_INFER = "ModelInfer"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Asked:
    request: Request
    raw: bool


@dataclass(slots=True)
class _InferCall(Call):
    message: Any = None


class _GrpcInference(Inferences[_InferCall, _Asked, bytes | Status]):
    """Inferences over gRPC; the answer is raw if the request was."""

    def begin(self, call: GrpcCall, message: Any) -> _InferCall:
        """Begin the account of a call, and find who answers it."""
        this = self.intake.inference("grpc", self.registry.label(message.model_name))
        try:
            model = self.registry.find(message.model_name, message.model_version, call.metadata.get(RELEASE_HEADER))
        except WavecastError as wrong:
            this.end(wrong)
            raise
        return _InferCall(model.name, model, this, call.left_s, message=message)

    def failed(self, call: _InferCall, wrong: Exception) -> Status:
        """The status of an inference that failed."""
        call.this.end(wrong)
        return _status(wrong, _INFER)

    def _decode(self, call: _InferCall, body: bytes) -> _Asked:
        message, model = call.message, call.model
        return _Asked(decode_request(message, model.inputs, model.outputs), bool(message.raw_input_contents))

    def _encode(self, call: _InferCall, asked: _Asked, answer: Response) -> bytes:
        model = call.model
        message = encode_response(answer, model.outputs, asked.request, asked.raw, model.name, model.version)
        return bytes(message.SerializeToString())


class V2Service:
    """The models of one process over gRPC."""

    def __init__(self, registry: Registry, worker: Worker, intake: Intake) -> None:
        self.paths: Mapping[str, str] = {
            f"/{_SERVICE.full_name}/{method.name}": method.name for method in _SERVICE.methods
        }
        self.refusals = intake.refusals
        self._requests = {method.name: getattr(pb, method.input_type.name) for method in _SERVICE.methods}
        self._registry = registry
        self._intake = intake
        self._inference = _GrpcInference(registry, worker, intake)

    def may_be_refused(self, method: str) -> bool:
        """Whether a call counts as work."""
        return method == _INFER

    def refusal(self) -> Status:
        """How a call is refused for which there is no room."""
        if self.refusals is None:
            raise RuntimeError("this process refuses nothing")
        return _status(self.refusals.turns.refusal(), _INFER)

    def call(self, call: GrpcCall, message: bytes, reply: Reply) -> Coroutine[Any, Any, None] | None:
        """Give ``reply`` the answer or the status, now or later, or return what gives it when it is run."""
        entered = ExitStack()

        def finish(answer: bytes | Status) -> None:
            entered.close()
            reply(answer)

        try:
            entered.enter_context(self._intake.enter_grpc(call.method, call.metadata, call.address))
            request = _parsed(self._requests[call.method], message)
            if call.method != _INFER:
                return self._finish(self._serialised(getattr(self, call.method)(request, call)), call.method, finish)
            begun = self._inference.begin(call, request)
            answer = self._inference.at_once(begun, message)
            if answer is not None:
                finish(answer)
            elif not self._inference.then(begun, message, finish):
                return self._finish(self._inference.answer(begun, message), _INFER, finish)
        except Exception as wrong:  # noqa: BLE001 - told there
            finish(_status(wrong, call.method))
        return None

    async def _finish(self, answer: Coroutine[Any, Any, bytes | Status], method: str, finish: Reply) -> None:
        outcome: bytes | Status = Status("CANCELLED", "nobody waits for the answer any more")
        try:
            outcome = await answer
        except Exception as wrong:  # noqa: BLE001 - told there
            outcome = _status(wrong, method)
        finally:
            finish(outcome)

    async def _serialised(self, answer: Coroutine[Any, Any, Any]) -> bytes:
        return bytes((await answer).SerializeToString())

    async def ServerLive(self, message: Any, call: GrpcCall) -> Any:  # noqa: N802 - names of the protocol
        """Whether the process is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, message: Any, call: GrpcCall) -> Any:  # noqa: N802
        """Whether all models are ready."""
        return pb.ServerReadyResponse(ready=not await self._registry.not_ready())

    async def ModelReady(self, message: Any, call: GrpcCall) -> Any:  # noqa: N802
        """Whether one model is ready."""
        return pb.ModelReadyResponse(ready=await self._find(message, call).healthy())

    async def ServerMetadata(self, message: Any, call: GrpcCall) -> Any:  # noqa: N802
        """Name, version and extensions."""
        return pb.ServerMetadataResponse(**self._registry.server())

    async def ModelMetadata(self, message: Any, call: GrpcCall) -> Any:  # noqa: N802
        """Tensors of one model."""
        metadata = self._registry.metadata(self._find(message, call))
        del metadata["parameters"]  # the message has no place for them
        return pb.ModelMetadataResponse(**metadata)

    async def RepositoryModelLoad(self, message: Any, call: GrpcCall) -> Any:  # noqa: N802
        """Load the release that the metadata names, or the newest of the store."""
        await self._registry.load(message.model_name, call.metadata.get(RELEASE_HEADER, ""))
        return pb.RepositoryModelLoadResponse(model_name=message.model_name, isLoaded=True)

    async def RepositoryModelUnload(self, message: Any, call: GrpcCall) -> Any:  # noqa: N802
        """Let go of the release that the metadata names."""
        await self._registry.unload(message.model_name, call.metadata.get(RELEASE_HEADER, ""))
        return pb.RepositoryModelUnloadResponse(model_name=message.model_name, isUnloaded=True)

    def _find(self, message: Any, call: GrpcCall) -> V2Model:
        return self._registry.find(message.name, message.version, call.metadata.get(RELEASE_HEADER))


def _parsed(kind: Any, content: bytes) -> Any:
    try:
        return kind.FromString(content)
    except DecodeError as wrong:
        raise InvalidInput(f"the message is not a {kind.__name__}; it is cut off or of another type") from wrong


def _status(wrong: Exception, method: str) -> Status:
    """The status that an error of the tree stands for; no detail of a defect leaves the process."""
    if isinstance(wrong, WavecastError):
        METRICS.refused(wrong)
        return Status(wrong.grpc_code, told(wrong), dict(retry_metadata(wrong)))
    _log.exception("request broke", method=method, exc_info=wrong)
    return Status("INTERNAL", "internal error; the server's log has the details")

"""V2 gRPC service.

It replaces the SDK's servicer and interceptors, which turn a model that is not ready into UNKNOWN,
a wrong shape into INTERNAL, and load a model on the event loop when it is asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from predictors.core.errors import InvalidInput, WavecastError
from predictors.serving.grpc_codec import decode_request, encode_response
from predictors.serving.intake import Intake, retry_metadata
from predictors.serving.message import told
from predictors.serving.metrics import METRICS
from predictors.serving.model import V2Model
from predictors.serving.registry import RELEASE_HEADER, Registry
from predictors.serving.tensors import Request

_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_log = structlog.get_logger()
_Method = Callable[[Any, Any, Any], Awaitable[Any]]


def add_service(server: grpc.aio.Server, registry: Registry, intake: Intake) -> None:
    """Register the service; unlike the generated code it answers INVALID_ARGUMENT to what is no message."""
    servicer = V2Servicer(registry, intake)
    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            request_deserializer=partial(_parsed, getattr(pb, method.input_type.name)),
            response_serializer=getattr(pb, method.output_type.name).SerializeToString,
        )
        for method in _SERVICE.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers),))


def _parsed(kind: Any, content: bytes) -> Any:
    try:
        return kind.FromString(content)
    except DecodeError:
        return InvalidInput(f"the message is not a {kind.__name__}; it is cut off or of another type")


def _answering(method: _Method) -> _Method:
    """Turn the error tree into gRPC codes; anything else is INTERNAL without details."""

    @wraps(method)
    async def answer(servicer: Any, message: Any, context: Any) -> Any:
        try:
            with servicer.intake.enter_grpc(method.__name__, context):
                if isinstance(message, InvalidInput):
                    raise message
                return await method(servicer, message, context)
        except WavecastError as wrong:
            METRICS.refused(wrong)
            await context.abort(grpc.StatusCode[wrong.grpc_code], told(wrong), retry_metadata(wrong))
        except grpc.aio.AbortError:
            raise
        except Exception as wrong:  # noqa: BLE001 - no detail of a defect leaves the process
            _log.exception("request broke", method=method.__name__, exc_info=wrong)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has the details")

    return answer


def _release(context: Any) -> str | None:
    """The release that the metadata asks for."""
    return next((value for key, value in context.invocation_metadata() or () if key == RELEASE_HEADER), None)


class V2Servicer:
    """The models of one process over gRPC."""

    def __init__(self, registry: Registry, intake: Intake) -> None:
        self._registry = registry
        self.intake = intake

    @_answering
    async def ServerLive(self, message: Any, context: Any) -> Any:  # noqa: N802 - names of the protocol
        """Whether the process is alive."""
        return pb.ServerLiveResponse(live=True)

    @_answering
    async def ServerReady(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Whether all models are ready."""
        return pb.ServerReadyResponse(ready=not await self._registry.not_ready())

    @_answering
    async def ModelReady(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Whether one model is ready."""
        model = self._find(message.name, message.version, context)
        return pb.ModelReadyResponse(ready=await model.healthy())

    @_answering
    async def ServerMetadata(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Name, version and extensions."""
        return pb.ServerMetadataResponse(**self._registry.server())

    @_answering
    async def ModelMetadata(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Tensors of one model."""
        metadata = self._registry.metadata(self._find(message.name, message.version, context))
        del metadata["parameters"]  # the message has no place for them
        return pb.ModelMetadataResponse(**metadata)

    @_answering
    async def ModelInfer(self, message: Any, context: Any) -> Any:  # noqa: N802
        """One inference; the answer is raw if the request was."""
        raw = message.raw_input_contents
        size = sum(map(len, raw)) or message.ByteSize()
        intake = self.intake
        with intake.inference("grpc", self._registry.label(message.model_name)) as this:
            model = self._find(message.model_name, message.model_version, context)
            asked: Request | None = None
            left = context.time_remaining()
            deadline = this.arrived + (intake.timeout_s if left is None else left)
            if intake.is_small(size):
                asked = decode_request(message, model.inputs, model.outputs)
                this.decoded(asked)
                deadline = min(deadline, model.deadline(asked, this.arrived))
            async with intake.turn(size, deadline):
                this.trace.mark("queue")
                if asked is None:
                    asked = decode_request(message, model.inputs, model.outputs)
                    this.decoded(asked)
                this.answer = answer = await model.answer(asked, this.arrived, left)
                this.trace.mark("combine")
                encoded = encode_response(answer, model.outputs, asked, bool(raw), model.name, model.version)
                this.trace.mark("encode")
            return encoded

    @_answering
    async def RepositoryModelLoad(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Load the release that the metadata names, or the newest of the store."""
        await self._registry.load(message.model_name, _release(context) or "")
        return pb.RepositoryModelLoadResponse(model_name=message.model_name, isLoaded=True)

    @_answering
    async def RepositoryModelUnload(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Let go of the release that the metadata names."""
        await self._registry.unload(message.model_name, _release(context) or "")
        return pb.RepositoryModelUnloadResponse(model_name=message.model_name, isUnloaded=True)

    def _find(self, model: str, version: str, context: Any) -> V2Model:
        return self._registry.find(model, version, _release(context))

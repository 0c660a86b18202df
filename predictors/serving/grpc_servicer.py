"""V2 gRPC service.

It replaces the SDK's servicer and interceptors, which turn a model that is not ready into UNKNOWN,
a wrong shape into INTERNAL, and load a model on the event loop when it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, NoReturn

import grpc
import structlog
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceServicer

from predictors.core.errors import WavecastError
from predictors.serving.grpc_codec import decode_request, encode_response
from predictors.serving.registry import Registry
from predictors.serving.tensors import Request

_log = structlog.get_logger()
_Method = Callable[[Any, Any, Any], Awaitable[Any]]


def _answering(method: _Method) -> _Method:
    """Turn the error tree into gRPC codes; anything else is INTERNAL without details."""

    @wraps(method)
    async def answer(servicer: Any, message: Any, context: Any) -> Any:
        try:
            return await method(servicer, message, context)
        except WavecastError as wrong:
            await context.abort(grpc.StatusCode[wrong.grpc_code], str(wrong))
        except grpc.aio.AbortError:
            raise
        except Exception as wrong:  # noqa: BLE001 - no detail of a defect leaves the process
            _log.exception("request broke", method=method.__name__, exc_info=wrong)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has the details")

    return answer


class V2Servicer(GRPCInferenceServiceServicer):  # type: ignore[misc]  # kserve ships no types
    """The models of one process over gRPC."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

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
        model = self._registry.find(message.name, message.version)
        return pb.ModelReadyResponse(ready=await model.healthy())

    @_answering
    async def ServerMetadata(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Name, version and extensions."""
        return pb.ServerMetadataResponse(**self._registry.server())

    @_answering
    async def ModelMetadata(self, message: Any, context: Any) -> Any:  # noqa: N802
        """Tensors of one model."""
        model = self._registry.find(message.name, message.version)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[model.version],
            platform=model.platform,
            inputs=model.get_input_types(),
            outputs=model.get_output_types(),
        )

    @_answering
    async def ModelInfer(self, message: Any, context: Any) -> Any:  # noqa: N802
        """One inference; the answer is raw if the request was."""
        started = time.perf_counter()
        asked: Request | None = None
        error: WavecastError | None = None
        try:
            model = self._registry.find(message.model_name, message.model_version)
            asked = decode_request(message, model.inputs, model.outputs)
            answer = await model.answer(asked, context.time_remaining())
            raw = bool(message.raw_input_contents)
            return encode_response(answer, model.outputs, asked, raw, model.name, model.version)
        except WavecastError as wrong:
            error = wrong
            raise
        finally:
            self._registry.log("grpc", message.model_name, started, asked, error)

    async def RepositoryModelLoad(self, message: Any, context: Any) -> NoReturn:  # noqa: N802
        """Refused: a process serves the release it was started with."""
        await _unimplemented(context)

    async def RepositoryModelUnload(self, message: Any, context: Any) -> NoReturn:  # noqa: N802
        """Refused: a process serves the release it was started with."""
        await _unimplemented(context)


async def _unimplemented(context: Any) -> NoReturn:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "models are loaded when the server starts; start another one")
    raise AssertionError("abort raises")

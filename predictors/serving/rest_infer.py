"""Inferences over REST."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import structlog

from predictors.core.errors import InvalidInput, WavecastError
from predictors.serving.inference import Call, Inferences
from predictors.serving.intake import Intake
from predictors.serving.model import V2Model
from predictors.serving.registry import Registry
from predictors.serving.reply import BINARY, JSON, Reply, error_reply
from predictors.serving.rest_codec import HEADER_LENGTH, RestDecoder, RestRequest, encode_response
from predictors.serving.tensors import Response
from predictors.serving.work import Worker

_log = structlog.get_logger()


@dataclass(slots=True)
class RestCall(Call):
    """One inference whose head was read.

    Attributes
    ----------
    header_length
        Value of the header ``Inference-Header-Content-Length``, if given.
    octets
        Whether the body is called octets.
    """

    header_length: str | None = None
    octets: bool = False


class RestInference(Inferences[RestCall, RestRequest, Reply]):
    """Answers the inferences of one process over REST."""

    def __init__(self, registry: Registry, worker: Worker, intake: Intake, max_bytes: int) -> None:
        super().__init__(registry, worker, intake)
        self.max_bytes = max_bytes
        self._decoders: WeakKeyDictionary[V2Model, RestDecoder] = WeakKeyDictionary()

    def failed(self, call: RestCall, wrong: Exception) -> Reply:
        """The reply to an inference that failed; no detail of a defect leaves the process."""
        call.this.end(wrong)
        if isinstance(wrong, WavecastError):
            return error_reply(wrong)
        _log.exception("request broke", model=call.name, exc_info=wrong)
        return error_reply(WavecastError("internal error; the server's log has the details"))

    def _decode(self, call: RestCall, body: bytes) -> RestRequest:
        if call.header_length is None and call.octets and body[:1] != b"{":
            # JSON alone may be called octets, as Triton's client does; anything else must say where it begins.
            raise InvalidInput("header 'Inference-Header-Content-Length' is missing, and the body is not JSON")
        decoder = self._decoders.get(call.model)
        if decoder is None:
            self._decoders[call.model] = decoder = RestDecoder(call.model.inputs, call.model.outputs)
        return decoder.decode(body, call.header_length)

    def _encode(self, call: RestCall, asked: RestRequest, answer: Response) -> Reply:
        content, length = encode_response(answer, call.model.outputs, asked, call.name, call.model.version)
        if length is None:
            return Reply(200, content, JSON)
        return Reply(200, content, BINARY, ((HEADER_LENGTH, str(length)),))

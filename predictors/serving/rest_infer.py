"""An inference over REST from its body to its reply: at once where that is possible, else in a task.

One window takes a few hundred microseconds, of which a task and its timers are a tenth: so what needs no other
process and no turn is computed where the last byte of its body was read.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import structlog

from predictors.core.errors import InvalidInput, WavecastError
from predictors.serving.intake import WINDOW_BYTES, Inference, Intake
from predictors.serving.model import V2Model
from predictors.serving.registry import Registry
from predictors.serving.reply import BINARY, JSON, Reply, error_reply
from predictors.serving.rest_codec import HEADER_LENGTH, RestRequest, decode_request, encode_response
from predictors.serving.tensors import Response
from predictors.serving.work import Worker

_log = structlog.get_logger()


@dataclass(slots=True)
class Call:
    """One inference whose head was read.

    Attributes
    ----------
    name, model
        What is asked, and what answers.
    this
        Its account, which ends with the reply.
    header_length
        Value of the header ``Inference-Header-Content-Length``, if given.
    octets
        Whether the body is called octets.
    asked
        The request, once it is decoded.
    """

    name: str
    model: V2Model
    this: Inference
    header_length: str | None
    octets: bool
    asked: RestRequest | None = None


class RestInference:
    """Answers the inferences of one process."""

    def __init__(self, registry: Registry, worker: Worker, intake: Intake, max_bytes: int) -> None:
        self.registry = registry
        self.intake = intake
        self.max_bytes = max_bytes
        self._worker = worker

    def at_once(self, call: Call, body: bytes) -> Reply | None:
        """The reply, unless it has to wait: for its turn, for other processes, or for a thread."""
        if not (call.model.immediate and self.intake.is_small(len(body))):
            return None
        turns = self.intake.small
        if turns is not None and not turns.take_now():
            return None
        call.this.trace.mark("queue")
        started = time.perf_counter()
        try:
            call.asked = asked = self._decode(call, body)
            answer = call.model.answer_now(asked.request, call.this.arrived)
            return None if answer is None else self._good(call, answer, *self._encode(call, asked, answer))
        except Exception as wrong:  # noqa: BLE001 - told below
            return self.failed(call, wrong)
        finally:
            if turns is not None:
                turns.leave_soon(started)

    async def answer(self, call: Call, body: bytes) -> Reply:
        """The reply, when it can be given."""
        try:
            return await self._answer(call, body)
        except Exception as wrong:  # noqa: BLE001 - told below
            return self.failed(call, wrong)
        except BaseException:
            call.this.end(None)
            raise

    async def _answer(self, call: Call, body: bytes) -> Reply:
        this, model, asked = call.this, call.model, call.asked
        rows = len(body) // WINDOW_BYTES
        deadline = this.arrived + self.intake.timeout_s
        if asked is None and self.intake.is_small(len(body)):  # cheap enough to know its deadline before it waits
            asked = self._decode(call, body)
        if asked is not None:
            deadline = model.deadline(asked.request, this.arrived)
        async with self.intake.turn(len(body), deadline):
            this.trace.mark("queue")
            if asked is None:
                asked = await self._worker.run(rows, partial(self._decode, call, body))
            answer = await model.answer(asked.request, this.arrived)
            encoded = await self._worker.run(rows, partial(self._encode, call, asked, answer))
        return self._good(call, answer, *encoded)

    def failed(self, call: Call, wrong: Exception) -> Reply:
        """The reply to an inference that failed; no detail of a defect leaves the process."""
        call.this.end(wrong)
        if isinstance(wrong, WavecastError):
            return error_reply(wrong)
        _log.exception("request broke", model=call.name, exc_info=wrong)
        return error_reply(WavecastError("internal error; the server's log has the details"))

    def _decode(self, call: Call, body: bytes) -> RestRequest:
        if call.header_length is None and call.octets and body[:1] != b"{":
            # JSON alone may be called octets, as Triton's client does; anything else must say where it begins.
            raise InvalidInput("header 'Inference-Header-Content-Length' is missing, and the body is not JSON")
        asked = decode_request(body, call.header_length, call.model.inputs, call.model.outputs)
        call.this.decoded(asked.request)
        return asked

    def _encode(self, call: Call, asked: RestRequest, answer: Response) -> tuple[bytes, int | None]:
        call.this.trace.mark("combine")
        content = encode_response(answer, call.model.outputs, asked, call.name, call.model.version)
        call.this.trace.mark("encode")
        return content

    def _good(self, call: Call, answer: Response, content: bytes, length: int | None) -> Reply:
        call.this.end(answer)
        if length is None:
            return Reply(200, content, JSON)
        return Reply(200, content, BINARY, ((HEADER_LENGTH, str(length)),))

"""An inference from its body to its reply, whatever the protocol: at once where that is possible, else in a task.

One window takes a few hundred microseconds, of which a task and its timers are a tenth: so what needs no other
process and no turn is computed where the last byte of its body was read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from predictors.serving.intake import WINDOW_BYTES, Inference, Intake
from predictors.serving.model import V2Model
from predictors.serving.registry import Registry
from predictors.serving.tensors import Request, Response
from predictors.serving.work import Worker


class Asked(Protocol):
    """A decoded request, and what its protocol needs for the answer."""

    @property
    def request(self) -> Request:
        """What the model sees."""


@dataclass(slots=True)
class Call:
    """One inference whose head was read.

    Attributes
    ----------
    name, model
        What is asked, and what answers.
    this
        Its account, which ends with the reply.
    transport_s
        What the transport left of its deadline on arrival, in seconds.
    asked
        The request, once it is decoded.
    """

    name: str
    model: V2Model
    this: Inference
    transport_s: float | None = None
    asked: Any = None


C = TypeVar("C", bound=Call)
A = TypeVar("A", bound=Asked)
R = TypeVar("R")


class Inferences(Generic[C, A, R]):
    """Answers the inferences of one process over one protocol."""

    def __init__(self, registry: Registry, worker: Worker, intake: Intake) -> None:
        self.registry = registry
        self.intake = intake
        self._worker = worker

    def at_once(self, call: C, body: bytes) -> R | None:
        """The reply, unless it has to wait: for its turn, for other processes, or for a thread."""
        if not (call.model.immediate and self.intake.is_small(len(body))):
            return None
        turns = self.intake.small
        if turns is not None and not turns.take_now():
            return None
        call.this.trace.mark("queue")
        started = time.perf_counter()
        try:
            call.asked = asked = self._decode_and_note(call, body)
            answer = call.model.answer_now(asked.request, call.this.arrived, call.transport_s)
            return None if answer is None else self._good(call, answer, self._encode_and_note(call, asked, answer))
        except Exception as wrong:  # noqa: BLE001 - told below
            return self.failed(call, wrong)
        finally:
            if turns is not None:
                turns.leave_soon(started)

    def then(self, call: C, body: bytes, reply: Callable[[R], None]) -> bool:
        """Have it answered by other processes, and give ``reply`` the reply; false if a task has to do it."""
        if not (call.model.prompt and self.intake.is_small(len(body))):
            return False
        turns = self.intake.small
        if turns is not None and not turns.take_now():
            return False
        call.this.trace.mark("queue")
        started = time.perf_counter()

        def done(outcome: Response | Exception) -> None:
            if turns is not None:
                turns.leave(started)
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                result = self._good(call, outcome, self._encode_and_note(call, call.asked, outcome))
            except Exception as wrong:  # noqa: BLE001 - told here
                result = self.failed(call, wrong)
            reply(result)

        try:
            call.asked = asked = self._decode_and_note(call, body)
            begun = call.model.answer_then(asked.request, call.this.arrived, call.transport_s, done)
        except Exception as wrong:  # noqa: BLE001 - told there
            done(wrong)
            return True
        if not begun and turns is not None:
            turns.leave(started)
        return begun

    async def answer(self, call: C, body: bytes) -> R:
        """The reply, when it can be given."""
        try:
            return await self._answer(call, body)
        except Exception as wrong:  # noqa: BLE001 - told below
            return self.failed(call, wrong)
        except BaseException:
            call.this.end(None)
            raise

    async def _answer(self, call: C, body: bytes) -> R:
        this, model, asked = call.this, call.model, call.asked
        rows = len(body) // WINDOW_BYTES
        left = self.intake.timeout_s if call.transport_s is None else call.transport_s
        deadline = this.arrived + min(left, self.intake.timeout_s)
        if asked is None and self.intake.is_small(len(body)):  # cheap enough to know its deadline before it waits
            asked = self._decode_and_note(call, body)
        if asked is not None:
            deadline = model.deadline(asked.request, this.arrived, call.transport_s)
        async with self.intake.turn(len(body), deadline):
            this.trace.mark("queue")
            if asked is None:
                asked = await self._worker.run(rows, partial(self._decode_and_note, call, body))
            answer = await model.answer(asked.request, this.arrived, call.transport_s)
            encoded = await self._worker.run(rows, partial(self._encode_and_note, call, asked, answer))
        return self._good(call, answer, encoded)

    def failed(self, call: C, wrong: Exception) -> R:
        """The reply to an inference that failed."""
        raise NotImplementedError

    def _decode(self, call: C, body: bytes) -> A:
        raise NotImplementedError

    def _encode(self, call: C, asked: A, answer: Response) -> R:
        raise NotImplementedError

    def _decode_and_note(self, call: C, body: bytes) -> A:
        asked = self._decode(call, body)
        call.this.decoded(asked.request)
        return asked

    def _encode_and_note(self, call: C, asked: A, answer: Response) -> R:
        call.this.trace.mark("combine")
        reply = self._encode(call, asked, answer)
        call.this.trace.mark("encode")
        return reply

    def _good(self, call: C, answer: Response, reply: R) -> R:
        call.this.end(answer)
        return reply

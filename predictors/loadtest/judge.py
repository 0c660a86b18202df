"""Whether an answer is what was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from predictors.client.forecast_rules import check_forecast
from predictors.core.errors import WavecastError
from predictors.loadtest.connection import Reply

Decode = Callable[[Reply], tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]]

_REMEMBERED = 1024
_SAMPLED_EVERY = 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one answer: the kind of error with its message, empty if it is right; and whether it is degraded."""

    error: str = ""
    detail: str = ""
    degraded: bool = False


class Judge:
    """Decodes and checks answers, each different one once.

    The same few requests are sent again and again, so nearly all answers are bytes that were seen
    before: their verdict is known. Where a server never repeats itself, one in 16 is looked at.

    Attributes
    ----------
    judged
        How many answers have a verdict on their content; the others only have a status.
    """

    def __init__(self, batch: int, decode: Decode) -> None:
        """Expect forecasts of ``batch`` windows."""
        self.judged = 0
        self._batch = batch
        self._decode = decode
        self._verdicts: dict[tuple[str | None, bytes], Verdict] = {}
        self._unseen = 0

    def __call__(self, reply: Reply) -> Verdict:
        """The verdict on an answer."""
        if reply.status != "OK":
            return Verdict(reply.status, reply.body[:200].decode(errors="replace"))
        key = reply.header_length, reply.body
        verdict = self._verdicts.get(key)
        if verdict is None:
            self._unseen += 1
            if len(self._verdicts) >= _REMEMBERED and self._unseen % _SAMPLED_EVERY:
                return Verdict()
            verdict = self._judge(reply)
            if len(self._verdicts) < _REMEMBERED:
                self._verdicts[key] = verdict
        self.judged += 1
        return verdict

    def _judge(self, reply: Reply) -> Verdict:
        try:
            tensors, parameters = self._decode(reply)
            check_forecast(tensors, parameters, self._batch)
        except WavecastError as wrong:
            return Verdict("wrong content", str(wrong))
        return Verdict(degraded=bool(parameters["degraded"]))

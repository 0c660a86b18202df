"""What was measured: latencies in a high-dynamic-range histogram, errors by kind, second by second."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

from predictors.loadtest.connection import LATE, Failure, Reply
from predictors.loadtest.judge import Judge

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
_LONGEST_US = 3_600_000_000
_SHORTEST_SECOND_S = 0.2
_DIGITS, _DIGITS_OF_A_SECOND = 3, 2


@dataclass(frozen=True, slots=True)
class Second:
    """One second of the measured time, by the time at which requests ended.

    Attributes
    ----------
    at_s
        Its end, seconds since the measured time began.
    answered_per_s, errors
        Right answers a second, and errors.
    p50_ms, p99_ms
        Of the latencies; NaN if there were none.
    """

    at_s: float
    answered_per_s: float
    errors: int
    p50_ms: float
    p99_ms: float


class Tally:
    """Counts every request that was due at or after ``begin_s`` (`time.monotonic`).

    The latency of a request is the time from when it was due to when its answer was complete, or to
    when it was given up for its deadline: its caller waited for that long too. Other errors have no
    latency, so that a server does not look fast because it refuses.
    """

    def __init__(self, judge: Judge, begin_s: float) -> None:
        self.begin_s, self.end_s = begin_s, begin_s
        self.judge = judge
        self.latencies = HdrHistogram(1, _LONGEST_US, _DIGITS)
        self.lags = HdrHistogram(1, _LONGEST_US, _DIGITS)
        self.answered = self.degraded = 0
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.seconds: list[Second] = []
        self._second = HdrHistogram(1, _LONGEST_US, _DIGITS_OF_A_SECOND)
        self._second_began = (begin_s, 0, 0)

    def woke(self, due_s: float, now_s: float) -> None:
        """The generator itself was this late."""
        if due_s >= self.begin_s:
            self.lags.record_value(_us(now_s - due_s))

    def reply(self, due_s: float, reply: Reply) -> None:
        """A complete answer came."""
        if due_s < self.begin_s:
            return
        self.end_s = max(self.end_s, reply.finished)
        verdict = self.judge(reply)
        if verdict.error:
            self._error(verdict.error, verdict.detail)
        else:
            self.answered += 1
            self.degraded += verdict.degraded
            self._latency(reply.finished - due_s)

    def failure(self, due_s: float, failure: Failure, now_s: float) -> None:
        """None came."""
        if due_s < self.begin_s:
            return
        self.end_s = max(self.end_s, now_s)
        self._error(failure.kind, str(failure))
        if failure.kind == LATE:
            self._latency(now_s - due_s)

    def end_second(self, now_s: float) -> Second:
        """Close the current second, or the part of one that has passed."""
        began, answered, errors = self._second_began
        total = self.errors.total()
        p50, p99 = (_ms(self._second, percentile) for percentile in (50.0, 99.0))
        passed = now_s - began
        second = Second(now_s - self.begin_s, (self.answered - answered) / passed, total - errors, p50, p99)
        self.seconds.append(second)
        self._second.reset()
        self._second_began = (now_s, self.answered, total)
        return second

    def end(self, now_s: float) -> None:
        """Nothing comes after this time, or the last answer if that was later."""
        self.end_s = max(self.end_s, now_s)
        if self.end_s - self._second_began[0] > _SHORTEST_SECOND_S:
            self.end_second(self.end_s)

    def latency_ms(self, percentile: float) -> float:
        """A percentile of the latencies, milliseconds; NaN if there are none."""
        return _ms(self.latencies, percentile)

    def _latency(self, seconds: float) -> None:
        value = _us(seconds)
        self.latencies.record_value(value)
        self._second.record_value(value)

    def _error(self, kind: str, detail: str) -> None:
        self.errors[kind] += 1
        self.examples.setdefault(kind, detail)


def _us(seconds: float) -> int:
    return min(max(1, round(1e6 * seconds)), _LONGEST_US)


def _ms(histogram: HdrHistogram, percentile: float) -> float:
    return histogram.get_value_at_percentile(percentile) / 1e3 if histogram.get_total_count() else math.nan

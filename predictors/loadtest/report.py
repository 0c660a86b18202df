"""What a load test says, to people and to machines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from predictors.loadtest.plan import Plan
from predictors.loadtest.tally import PERCENTILES, Second, Tally

_PICTURE_POINTS = 120
_BUSY_CPU = 0.9
_LAG_SHARE = 0.5
_KEPT_UP = 0.9


@dataclass(frozen=True, slots=True)
class Usage:
    """Of the generator itself: the cores that it used, and whether it was interrupted."""

    cpu: float
    interrupted: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured.

    Attributes
    ----------
    plan
        What was to be done.
    measured_s
        Measured time, until the last answer.
    requests, answered, degraded, judged
        Requests that were due; of these answered right; of these degraded. ``judged`` answers were
        checked to the last number, the others by their status.
    rate_per_s
        Right answers a second.
    errors, examples
        Errors by kind, and the first message of each kind.
    latency_ms
        By percentile (``p50`` ... ``p99.9``, ``max``); empty if nothing was answered.
    curve
        Pairs of percentile and latency in ms, for the picture.
    seconds
        Second by second.
    lag_ms
        By how much the generator itself was late, in an open loop: ``p50``, ``p99``.
    cpu
        Cores that the generator used.
    interrupted
        Whether it was ended early.
    histogram
        All latencies in microseconds: HdrHistogram's V2 compressed encoding, base64.
    """

    plan: Plan
    measured_s: float
    requests: int
    answered: int
    degraded: int
    judged: int
    rate_per_s: float
    errors: Mapping[str, int]
    examples: Mapping[str, str]
    latency_ms: Mapping[str, float]
    curve: tuple[tuple[float, float], ...]
    seconds: tuple[Second, ...]
    lag_ms: Mapping[str, float]
    cpu: float
    interrupted: bool
    histogram: str

    @property
    def error_share(self) -> float:
        """Errors of all requests; 1 if there were none."""
        return 1.0 - self.answered / self.requests if self.requests else 1.0

    def as_json(self) -> dict[str, Any]:
        """Scalars, lists and objects; nothing is NaN."""
        content = asdict(self)
        content["seconds"] = [
            {name: None if math.isnan(value) else value for name, value in asdict(second).items()}
            for second in self.seconds
        ]
        return {**content, "error_share": self.error_share, "warnings": self.warnings()}

    def warnings(self) -> list[str]:
        """Reasons to doubt the numbers."""
        found = []
        if self.cpu > _BUSY_CPU:
            found.append(
                f"the generator used {self.cpu:.0%} of a core: part of the latencies is its own; "
                "lower the rate, or read them as an upper bound"
            )
        p99 = self.latency_ms.get("p99", math.inf)
        if self.lag_ms and self.lag_ms["p99"] > _LAG_SHARE * p99:
            found.append(
                f"the generator was late by {self.lag_ms['p99']:.2f} ms (p99): part of the latencies is its own; "
                "give it a free core"
            )
        rate = self.plan.rate_per_s
        if rate is not None and not self.interrupted and self.requests and self.rate_per_s < _KEPT_UP * rate:
            found.append(
                f"{self.rate_per_s:.1f} right answers a second of {rate:g} intended: the server did not keep up"
            )
        return found

    def text(self) -> str:
        """Some lines for people."""
        plan = self.plan
        loop = "closed loop" if plan.rate_per_s is None else f"open loop at {plan.rate_per_s:g}/s"
        intended = "" if plan.rate_per_s is None else f" of {plan.rate_per_s:g}/s intended"
        lines = [
            f"{plan.url}  {plan.protocol}, batch {plan.batch}, {loop}, {plan.connections} connections, "
            f"{self.measured_s:.1f} s after {plan.warmup_s:g} s of warm-up" + (", interrupted" * self.interrupted),
            f"  answered   {self.answered} of {self.requests}, {self.rate_per_s:.1f}/s{intended}"
            + (f", {self.rate_per_s * plan.batch:.0f} windows/s" if plan.batch > 1 else ""),
            f"  degraded   {self.degraded}",
            f"  errors     {self.requests - self.answered} ({self.error_share:.3%})",
            *(f"    {kind}: {number}, first: {self.examples[kind]}" for kind, number in self.errors.items()),
            "  latency    " + ("  ".join(f"{name} {_short(ms)}" for name, ms in self.latency_ms.items()) or "none"),
            *(f"  note       {warning}" for warning in self.warnings()),
        ]
        return "\n".join(lines)


def make_report(plan: Plan, tally: Tally, usage: Usage) -> Report:
    """Read the counters."""
    requests = tally.answered + tally.errors.total()
    measured_s = max(0.0, tally.end_s - tally.begin_s)
    some = tally.latencies.get_total_count() > 0
    latency = {f"p{percentile:g}": tally.latency_ms(percentile) for percentile in PERCENTILES} if some else {}
    if some:
        latency["max"] = tally.latencies.get_max_value() / 1e3
    lags = tally.lags
    lag = {f"p{p}": lags.get_value_at_percentile(p) / 1e3 for p in (50, 99)} if lags.get_total_count() else {}
    return Report(
        plan=plan,
        measured_s=measured_s,
        requests=requests,
        answered=tally.answered,
        degraded=tally.degraded,
        judged=tally.judge.judged,
        rate_per_s=tally.answered / measured_s if measured_s else 0.0,
        errors=dict(tally.errors.most_common()),
        examples=tally.examples,
        latency_ms=latency,
        curve=tuple((p, tally.latency_ms(p)) for p in _curve_percentiles(requests)) if some else (),
        seconds=tuple(tally.seconds),
        lag_ms=lag,
        cpu=usage.cpu,
        interrupted=usage.interrupted,
        histogram=tally.latencies.encode().decode(),
    )


def _curve_percentiles(requests: int) -> list[float]:
    """From 0 to the last one that ``requests`` resolve, evenly in the number of nines."""
    nines = math.log10(max(requests, 10))
    return [100.0 * (1.0 - 10.0 ** (-nines * step / _PICTURE_POINTS)) for step in range(_PICTURE_POINTS + 1)]


def _short(ms: float) -> str:
    return f"{ms:.3g} ms" if ms < 1000 else f"{ms / 1000:.3g} s"

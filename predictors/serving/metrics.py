"""Prometheus metrics; every label is from a bounded set.

Observations are made on the event loop only, which is where they are scraped too, so they need no lock: a
request costs a few microseconds for all of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from predictors.core.errors import (
    Forbidden,
    Overloaded,
    RateLimited,
    TooLarge,
    TooManyInFlight,
    Unauthenticated,
    WavecastError,
)

BUCKETS_S = (
    *(1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 7e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 7e-3),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 3.0, 10.0),
)
STAGES = ("queue", "decode", "features", "members", "combine", "encode")
OUTCOMES = ("ok", "failed", "late", "skipped")
"""Of a member in one request; ``skipped`` by its open breaker."""
BREAKER_STATES = {"closed": 0.0, "half_open": 0.5, "open": 1.0}

_REASONS: dict[type[WavecastError], str] = {
    Unauthenticated: "unauthenticated",
    Forbidden: "forbidden",
    RateLimited: "rate",
    TooManyInFlight: "in_flight",
    Overloaded: "overload",
    TooLarge: "too_large",
}


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> Iterator[tuple[str, int]]:
        below = 0
        for bound, count in zip((*BUCKETS_S, float("inf")), self.counts, strict=True):
            below += count
            yield ("+Inf" if bound == float("inf") else repr(bound)), below


class Metrics:
    """The numbers of one process, as a collector of the Prometheus client."""

    def __init__(self) -> None:
        self._requests: defaultdict[tuple[str, str, str], _Histogram] = defaultdict(_Histogram)
        self._stages: defaultdict[str, _Histogram] = defaultdict(_Histogram)
        self._members: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._refusals: defaultdict[str, int] = defaultdict(int)
        self._cache: defaultdict[str, int] = defaultdict(int)
        self._breakers: dict[str, float] = {}
        self._degraded = 0
        self.waiting = 0
        """Inferences that wait for their turn."""
        self.in_flight = 0
        """Inferences that have begun and have not been answered."""
        self.log_lines_lost = 0
        """Lines of the request log that were dropped, because they could not be written fast enough."""

    def answered(self, protocol: str, model: str, code: str, seconds: float, stages: dict[str, float]) -> None:
        """Count an inference; ``model`` must be one that is loaded, or ``unknown``."""
        self._requests[protocol, model, code].observe(seconds)
        for stage, took in stages.items():
            self._stages[stage].observe(took)

    def degraded(self) -> None:
        """Count an answer without some of its members."""
        self._degraded += 1

    def refused(self, wrong: WavecastError) -> None:
        """Count a refusal by its reason; errors that are none are left out."""
        reason = _REASONS.get(type(wrong))
        if reason is not None:
            self._refusals[reason] += 1

    def member(self, kind: str, outcome: str) -> None:
        """Count how a member did in one request; ``outcome`` of `OUTCOMES`."""
        self._members[kind, outcome] += 1

    def breaker(self, kind: str, state: str) -> None:
        """Set the state of a member's breaker, of `BREAKER_STATES`."""
        self._breakers[kind] = BREAKER_STATES[state]

    def cache(self, result: str) -> None:
        """Count a look-up in the response cache: ``hit`` or ``miss``."""
        self._cache[result] += 1

    def collect(self) -> Iterable[Metric]:
        """All of them, as the Prometheus client wants them."""
        yield _histograms(
            "wavecast_request_seconds",
            "Inferences by protocol, model and gRPC status code.",
            ("protocol", "model", "code"),
            self._requests,
        )
        yield _histograms(
            "wavecast_stage_seconds",
            "Parts of an inference.",
            ("stage",),
            {(name,): stage for name, stage in self._stages.items()},
        )
        yield _gauge("wavecast_in_flight", "Inferences begun and not answered.", self.in_flight)
        yield _gauge("wavecast_waiting", "Inferences that wait for their turn.", self.waiting)
        yield _counters("wavecast_member_answers", "Members' answers by outcome.", ("member", "outcome"), self._members)
        breakers = GaugeMetricFamily(
            "wavecast_breaker_open", "Breaker of a member: 0 closed, 0.5 half open, 1 open.", labels=("member",)
        )
        for kind, state in self._breakers.items():
            breakers.add_metric((kind,), state)
        yield breakers
        yield _counters(
            "wavecast_refusals",
            "Requests that were refused, by reason.",
            ("reason",),
            {(reason,): count for reason, count in self._refusals.items()},
        )
        yield _counters(
            "wavecast_cache_lookups",
            "Look-ups in the response cache by result.",
            ("result",),
            {(result,): count for result, count in self._cache.items()},
        )
        yield CounterMetricFamily("wavecast_degraded_answers", "Answers without some members.", self._degraded)
        yield CounterMetricFamily(
            "wavecast_log_lines_lost", "Lines of the request log that were dropped.", self.log_lines_lost
        )


def _histograms(name: str, documentation: str, labels: tuple[str, ...], children: Mapping[Any, _Histogram]) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    for values, child in children.items():
        family.add_metric(values, list(child.buckets()), child.total_s)
    return family


def _counters(name: str, documentation: str, labels: tuple[str, ...], children: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, count in children.items():
        family.add_metric(values, count)
    return family


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value)


METRICS = Metrics()
"""Those of this process."""

REGISTRY.register(METRICS)

"""What is measured and what must hold: endpoints, rounds, and ratios within a round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from bench.endpoints import Endpoint
from bench.generators import Generators
from bench.questions import Question
from bench.servers import Addresses

ROUNDS = 6
WARM_UP_S = 1
CONNECTIONS = {1: 2, 8: 1}
"""Connections, and seconds of load per round."""

Transport = Literal["json", "binary", "grpc"]
Row = dict[str, Any]

GRAPH: dict[str, tuple[Transport, ...]] = {
    "wavecast embedded": ("json", "binary", "grpc"),
    "wavecast processes": ("json", "binary", "grpc"),
    "FastAPI": ("json",),
    "KServe gRPC graph": ("json", "grpc"),
    "KServe REST graph": ("json",),
}
SINGLE: dict[str, tuple[Transport, ...]] = {
    "wavecast member": ("json", "binary", "grpc"),
    "MLServer member": ("json", "grpc"),
    "KServe member": ("json", "binary", "grpc"),
}
LAYOUTS = ("wavecast embedded", "wavecast processes")

PACED_RPS, PACED_S = 50, 20
LARGE_REPEATS = 5
STAGES_S = 5


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of ours over one of another server in the same round, and the bound on it."""

    ours: str
    other: str
    metric: Literal["p50_ms", "rps"]
    bound: float

    @property
    def connections(self) -> int:
        """Latency is compared on one connection, throughput on eight."""
        return 1 if self.metric == "p50_ms" else 8

    def met(self, ratio: float) -> bool:
        """Whether a ratio is within the bound."""
        return ratio <= self.bound if self.metric == "p50_ms" else ratio >= self.bound


TARGETS = (
    Target("wavecast processes/json", "KServe REST graph/json", "p50_ms", 1 / 4),
    Target("wavecast processes/grpc", "KServe gRPC graph/grpc", "p50_ms", 1 / 2),
    Target("wavecast embedded/json", "KServe REST graph/json", "p50_ms", 1 / 10),
    Target("wavecast embedded/grpc", "KServe gRPC graph/grpc", "p50_ms", 1 / 6),
    Target("wavecast embedded/json", "FastAPI/json", "p50_ms", 1.0),
    Target("wavecast embedded/json", "FastAPI/json", "rps", 1.0),
    Target("wavecast member/json", "KServe member/json", "p50_ms", 0.65),
    Target("wavecast member/json", "MLServer member/json", "p50_ms", 0.65),
    Target("wavecast member/json", "KServe member/json", "rps", 2.0),
    Target("wavecast member/json", "MLServer member/json", "rps", 2.0),
)


def endpoints(at: Mapping[str, Addresses], forecast: Question, member: Question) -> list[Endpoint]:
    """All that is compared of the servers that run, each with its question."""
    return [
        endpoint_of(at, server, transport, question)
        for group, question in ((GRAPH, forecast), (SINGLE, member))
        for server, transports in group.items()
        if server in at
        for transport in transports
    ]


def endpoint_of(at: Mapping[str, Addresses], server: str, transport: Transport, question: Question) -> Endpoint:
    """One endpoint."""
    address = at[server].grpc if transport == "grpc" else at[server].http
    return Endpoint(server, transport, address, question)


def measure_rounds(
    compared: Sequence[Endpoint], generators: Generators, cpu_s: Callable[[], float], rounds: int = ROUNDS
) -> list[Row]:
    """Rounds in which every endpoint has its turn, in another order each time; the first warms up and is dropped.

    Parameters
    ----------
    compared
        Endpoints whose answers were checked.
    generators
        The load.
    cpu_s
        Processor seconds that all servers have used; those that are not asked use none to speak of.
    """
    rows: list[Row] = []
    guesses: dict[tuple[str, int], float] = {}
    for number in range(rounds + 1):
        order = random.Random(number).sample(compared, len(compared))
        for connections, seconds in CONNECTIONS.items():
            for endpoint in order:
                key = endpoint.name, connections
                length = seconds if number else WARM_UP_S
                before = cpu_s()
                sample = generators.closed_loop(endpoint, connections, length, guesses.get(key, 100.0))
                guesses[key] = sample.rps
                if number:
                    cpu_ms = 1e3 * (cpu_s() - before) / sample.requests
                    place = {"round": number, "connections": connections, "endpoint": endpoint.name}
                    rows.append({**place, **asdict(sample), "cpu_ms": cpu_ms})
        print(f"round {number} of {rounds} done", flush=True)
    return rows


def measure_paced(at: Mapping[str, Addresses], questions: Mapping[int, Question], generators: Generators) -> list[Row]:
    """Our layouts at a fixed rate, by windows per request."""
    rows = []
    for server in LAYOUTS:
        for windows, question in questions.items():
            endpoint = endpoint_of(at, server, "json", question)
            endpoint.check()
            sample = generators.fixed_rate(endpoint, PACED_RPS, PACED_S)
            rows.append({"server": server, "windows": windows, **asdict(sample)})
    return rows


def measure_stages(at: Mapping[str, Addresses], question: Question, generators: Generators) -> list[Row]:
    """Where the time of one window goes on one connection, as the server's own metrics tell it: mean ms by stage."""
    rows = []
    for server in LAYOUTS:
        endpoint = endpoint_of(at, server, "json", question)
        endpoint.check()
        before = _accounts(at[server])
        sample = generators.closed_loop(endpoint, 1, STAGES_S, 0.0)
        spent = {name: value - before.get(name, 0.0) for name, value in _accounts(at[server]).items()}
        answers = spent.pop("answers")
        stages = {stage: 1e3 * seconds / answers for stage, seconds in spent.items()}
        rows.append({"server": server, "mean_ms": 1e3 * STAGES_S / sample.requests, "stages_ms": stages})
    return rows


def _accounts(address: Addresses) -> dict[str, float]:
    """Seconds by stage so far, and under "answers" the inferences over REST."""
    found: dict[str, float] = {}
    text = httpx.get(f"http://{address.http}/metrics").raise_for_status().text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "wavecast_stage_seconds_sum":
                found[sample.labels["stage"]] = sample.value
            elif sample.name == "wavecast_request_seconds_count" and sample.labels["protocol"] == "rest":
                found["answers"] = found.get("answers", 0.0) + sample.value
    return found


def measure_large(at: Mapping[str, Addresses], question: Question) -> list[Row]:
    """Seconds of one large request, answer checked, client's coding outside the clock."""
    rows = []
    for server in LAYOUTS:
        for transport in GRAPH[server]:
            endpoint = endpoint_of(at, server, transport, question)
            endpoint.check()
            seconds = []
            for _ in range(LARGE_REPEATS):
                started = time.perf_counter()
                endpoint.ask()
                seconds.append(time.perf_counter() - started)
            rows.append({"endpoint": endpoint.name, "median_s": float(np.median(seconds)), "worst_s": max(seconds)})
    return rows


def series(rows: Sequence[Row], endpoint: str, connections: int, metric: str) -> list[float]:
    """One figure of one endpoint, round by round."""
    return [row[metric] for row in rows if row["endpoint"] == endpoint and row["connections"] == connections]


def paired_ratios(rows: Sequence[Row], target: Target) -> list[float]:
    """Ours over the other's, round by round."""
    ours, other = (series(rows, name, target.connections, target.metric) for name in (target.ours, target.other))
    return [a / b for a, b in zip(ours, other, strict=True)]

"""The load: wrk for HTTP, h2load for gRPC and for a fixed rate. An error of any kind ends the run."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.endpoints import Endpoint

LUA = Path(__file__).with_name("load.lua")

_FRAME_BYTES = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """Figures of one stretch of load: requests, requests per second, and latency quantiles in ms."""

    requests: int
    rps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Generators:
    """Runs the generators; bodies and logs are kept in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answer_bytes: dict[str, int] = {}

    def check(self, endpoint: Endpoint) -> None:
        """Check the answer, and remember its length: over gRPC it shows an error that h2load does not."""
        self._answer_bytes[endpoint.name] = endpoint.check()

    def closed_loop(self, endpoint: Endpoint, connections: int, seconds: int, rps: float) -> Sample:
        """Load at full speed; ``rps`` is a guess, which gives h2load its number of requests."""
        if endpoint.transport == "grpc":
            return self._h2load(endpoint, connections, max(10 * connections, int(rps * seconds)), None)
        return self._wrk(endpoint, connections, seconds)

    def fixed_rate(self, endpoint: Endpoint, rps: int, seconds: int) -> Sample:
        """Load at ``rps`` requests per second on one connection."""
        return self._h2load(endpoint, 1, rps * seconds, rps)

    def _body(self, endpoint: Endpoint) -> str:
        file = self._folder / endpoint.name.replace("/", "-")
        if not file.exists():
            file.write_bytes(endpoint.body)
        return str(file)

    def _wrk(self, endpoint: Endpoint, connections: int, seconds: int) -> Sample:
        threads = ("-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(LUA), endpoint.url)
        text = _run("wrk", *threads, "--", self._body(endpoint), *endpoint.headers.values())
        figures = json.loads(text.splitlines()[-1])
        assert figures["errors"] == 0, f"{endpoint.name}: {text}"
        rps = figures["requests"] / figures["seconds"]
        return Sample(figures["requests"], rps, figures["p50_ms"], figures["p95_ms"], figures["p99_ms"])

    def _h2load(self, endpoint: Endpoint, connections: int, requests: int, rps: int | None) -> Sample:
        grpc = endpoint.transport == "grpc"
        headers = {"content-type": "application/grpc", "te": "trailers"} if grpc else endpoint.headers
        log = self._folder / "h2load.log"
        log.unlink(missing_ok=True)
        text = _run(
            *("h2load", "-t1", f"-c{connections}", f"-n{requests}", "-d", self._body(endpoint)),
            *(() if grpc else ("--h1",)),
            *(("-m100", f"--rps={rps}") if rps else ()),
            *(part for name, value in headers.items() for part in ("-H", f"{name}: {value}")),
            *("--log-file", str(log), endpoint.url),
        )
        rows = np.loadtxt(log, dtype=np.int64, ndmin=2)
        done = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
        data = re.search(r"\((\d+)\) data", text)
        assert done is not None, text
        assert data is not None, text
        assert [int(part) for part in done.groups()] == [requests, 0, 0, 0], f"{endpoint.name}: {text}"
        assert len(rows) == requests, f"{endpoint.name}: {len(rows)} of {requests} requests in the log"
        assert (rows[:, 1] == 200).all(), f"{endpoint.name}: {text}"
        if grpc:
            expected = requests * (self._answer_bytes[endpoint.name] + _FRAME_BYTES)
            assert int(data[1]) == expected, f"{endpoint.name}: {data[1]} bytes of answers, expected {expected}"
        starts, latencies = rows[:, 0], rows[:, 2]
        seconds = float((starts + latencies).max() - starts.min()) / 1e6
        p50, p95, p99 = (float(value) / 1e3 for value in np.percentile(latencies, (50, 95, 99)))
        return Sample(requests, requests / seconds, p50, p95, p99)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout

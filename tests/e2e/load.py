"""Open-loop load on the public model, REST and gRPC, that keeps what became of every request."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
import httpx
import numpy as np
from chart import Chart
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray

TIMEOUT_S = 5.0
Answer = Coroutine[Any, Any, tuple[str, bool]]
"""Release that answered, and whether it was degraded."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: ``wrong`` is empty if it was answered."""

    at: float
    protocol: str
    release: str
    degraded: bool
    wrong: str
    latency_s: float


class Load:
    """Requests at a fixed rate, due whether or not earlier ones were answered; a context manager.

    Parameters
    ----------
    chart
        The installation that is asked, through its gateway.
    bars
        float64 (1, T, 5), the window that is asked about.
    rest_per_s, grpc_per_s
        Requests due each second.
    """

    def __init__(
        self, chart: Chart, bars: NDArray[np.float64], rest_per_s: float = 50.0, grpc_per_s: float = 5.0
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._chart = chart
        self._rates = {"rest": rest_per_s, "grpc": grpc_per_s}
        tensor = {"name": "bars", "datatype": "FP64", "shape": list(bars.shape), "data": bars.ravel().tolist()}
        self._body = {"inputs": [tensor]}
        self._message = pb.ModelInferRequest(
            model_name="wavecast",
            inputs=[pb.ModelInferRequest.InferInputTensor(name="bars", datatype="FP64", shape=bars.shape)],
            raw_input_contents=[bars.tobytes()],
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def since(self, mark: float) -> list[Outcome]:
        """Outcomes of requests that were due after ``mark`` (`time.monotonic` seconds)."""
        return [outcome for outcome in self.outcomes if outcome.at >= mark]

    @property
    def failures(self) -> list[Outcome]:
        """Requests that were not answered."""
        return [outcome for outcome in self.outcomes if outcome.wrong]

    def summary(self) -> str:
        """Counts by release and by failure, for messages."""
        began = self.outcomes[0].at if self.outcomes else 0.0
        wrongs = Counter(f"{o.protocol} {o.wrong}" for o in self.failures)
        first = [f"{o.at - began:.2f} s" for o in self.failures[:5]]
        latencies = sorted(o.latency_s for o in self.outcomes) or [0.0]
        return (
            f"{len(self.outcomes)} requests, by release {dict(Counter(o.release for o in self.outcomes))}, "
            f"degraded {sum(o.degraded for o in self.outcomes)}, p50 {1e3 * latencies[len(latencies) // 2]:.0f} ms, "
            f"p99 {1e3 * latencies[int(0.99 * len(latencies))]:.0f} ms, failures {dict(wrongs)} at {first}"
        )

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
        chart = self._chart
        options = [("grpc.default_authority", chart.grpc_host)]
        async with (
            httpx.AsyncClient(base_url=chart.url, headers=chart.headers, timeout=TIMEOUT_S, limits=limits) as client,
            grpc.aio.insecure_channel(chart.address, options) as channel,
        ):
            stub = GRPCInferenceServiceStub(channel)
            await asyncio.gather(
                self._keep_rate("rest", lambda: self._rest(client)), self._keep_rate("grpc", lambda: self._grpc(stub))
            )

    async def _keep_rate(self, protocol: str, ask: Callable[[], Answer]) -> None:
        rate, asked = self._rates[protocol], 0
        began, running = time.monotonic(), set[asyncio.Task[None]]()
        while not self._stop.is_set() and rate:
            asked += 1
            await asyncio.sleep(max(0.0, began + asked / rate - time.monotonic()))
            task = asyncio.create_task(self._record(protocol, ask()))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def _record(self, protocol: str, answer: Answer) -> None:
        at, release, degraded, wrong = time.monotonic(), "", False, ""
        try:
            release, degraded = await answer
        except grpc.aio.AioRpcError as failed:
            wrong = f"{failed.code().name}: {failed.details()}"[:200]
        except Exception as failed:  # noqa: BLE001 - whatever is wrong with an answer counts
            wrong = f"{type(failed).__name__}: {failed}"[:200]
        self.outcomes.append(Outcome(at, protocol, release, degraded, wrong, time.monotonic() - at))

    async def _rest(self, client: httpx.AsyncClient) -> tuple[str, bool]:
        response = await client.post("/v2/models/wavecast/infer", json=self._body)
        if response.status_code != httpx.codes.OK:
            raise RuntimeError(f"{response.status_code} {response.text[:100]}")
        parameters = response.json()["parameters"]
        return parameters["release"], parameters["degraded"]

    async def _grpc(self, stub: GRPCInferenceServiceStub) -> tuple[str, bool]:
        answer = await stub.ModelInfer(self._message, timeout=TIMEOUT_S, metadata=self._chart.metadata)
        return answer.parameters["release"].string_param, answer.parameters["degraded"].bool_param

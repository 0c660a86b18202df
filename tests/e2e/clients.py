"""Forecasts through the gateway by the clients that people use; kserve and triton in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
from chart import Chart
from numpy.typing import NDArray

Answer = dict[str, NDArray[Any]]

_KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

asked = json.load(sys.stdin)
window = np.array(asked["bars"])

def request(binary):
    bars = InferInput("bars", list(window.shape), "FP64")
    bars.set_data_from_numpy(window, binary_data=binary)
    return InferRequest("wavecast", [bars], parameters={"binary_data_output": True} if binary else {})

async def ask():
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        for name, binary in (("REST", False), ("REST binary", True)):
            headers = dict(asked["headers"])
            yield name, await client.infer(asked["url"], request(binary), headers=headers, model_name="wavecast")
    options = [("grpc.default_authority", asked["grpc_host"])]
    async with InferenceGRPCClient(asked["address"], channel_args=options) as client:
        yield "gRPC", await client.infer(request(True), headers=[tuple(one) for one in asked["metadata"]])

async def main():
    return {n: {o.name: o.as_numpy().tolist() for o in answer.outputs} async for n, answer in ask()}

print(json.dumps(asyncio.run(main())))
"""

_TRITON = """
import json, sys
import numpy as np
import tritonclient.grpc, tritonclient.http

asked = json.load(sys.stdin)
window = np.array(asked["bars"])
rest = tritonclient.http.InferenceServerClient(asked["address"])
channel = [("grpc.default_authority", asked["grpc_host"])]
grpc = tritonclient.grpc.InferenceServerClient(asked["address"], channel_args=channel)
found = {}
for name, module, client, headers in (
    ("REST binary", tritonclient.http, rest, asked["headers"]),
    ("gRPC", tritonclient.grpc, grpc, dict(asked["metadata"])),
):
    bars = module.InferInput("bars", window.shape, "FP64")
    bars.set_data_from_numpy(window)
    answer = client.infer("wavecast", [bars], headers=headers)
    found[name] = {o: answer.as_numpy(o).tolist() for o in ("variance", "log_variance", "quantiles")}
print(json.dumps(found))
"""


def ask_with_kserve(chart: Chart, bars: NDArray[np.float64]) -> dict[str, Answer]:
    """By KServe's own clients: answers by protocol."""
    return _ask(_KSERVE, chart, bars)


def ask_with_triton(chart: Chart, bars: NDArray[np.float64]) -> dict[str, Answer]:
    """By Triton's clients: answers by protocol."""
    return _ask(_TRITON, chart, bars)


def _ask(code: str, chart: Chart, bars: NDArray[np.float64]) -> dict[str, Answer]:
    asked = {
        "bars": bars.tolist(),
        "url": chart.url,
        "address": chart.address,
        "grpc_host": chart.grpc_host,
        "headers": chart.headers,
        "metadata": chart.metadata,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return {name: {o: np.array(values, float) for o, values in one.items()} for name, one in answers.items()}

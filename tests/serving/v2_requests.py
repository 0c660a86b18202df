"""Plain V2 requests, built by hand so that they can also be wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import grpc
import httpx
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray
from running_server import Served

Answer = dict[str, NDArray[Any]]
INFER = "/v2/models/wavecast/infer"


def tensor(name: str, array: NDArray[Any], **changes: Any) -> dict[str, Any]:
    """A JSON tensor with flat data."""
    datatype = {"f": "FP64", "i": "INT64"}[array.dtype.kind]
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist(), **changes}


def post(served: Served, content: object, path: str = INFER, timeout: float = 60.0) -> httpx.Response:
    """A JSON request."""
    return httpx.post(served.http + path, json=content, timeout=timeout)


def rest_json(served: Served, bars: NDArray[np.float64]) -> Answer:
    """Forecast over REST JSON."""
    response = post(served, {"inputs": [tensor("bars", bars)]})
    assert response.status_code == 200, response.text
    return {o["name"]: np.array(o["data"], float).reshape(o["shape"]) for o in response.json()["outputs"]}


def rest_binary(served: Served, bars: NDArray[np.float64]) -> Answer:
    """Forecast over REST with binary tensors both ways."""
    entry = {"name": "bars", "datatype": "FP64", "shape": list(bars.shape)}
    entry["parameters"] = {"binary_data_size": bars.nbytes}
    header = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    response = httpx.post(
        served.http + INFER,
        content=header + bars.tobytes(),
        headers={"content-type": "application/octet-stream", "inference-header-content-length": str(len(header))},
        timeout=60,
    )
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers["inference-header-content-length"])
    answer, start = {}, length
    for output in json.loads(response.content[:length])["outputs"]:
        end = start + output["parameters"]["binary_data_size"]
        answer[output["name"]] = np.frombuffer(response.content[start:end], "<f8").reshape(output["shape"])
        start = end
    assert start == len(response.content)
    return answer


def grpc_message(bars: NDArray[np.float64], raw: bool = True, **parameters: Any) -> Any:
    """A ``ModelInferRequest`` for the public model."""
    message = pb.ModelInferRequest(model_name="wavecast", id="a")
    entry = message.inputs.add(name="bars", datatype="FP64", shape=bars.shape)
    if raw:
        message.raw_input_contents.append(bars.tobytes())
    else:
        entry.contents.fp64_contents.extend(bars.ravel().tolist())
    for name, value in parameters.items():
        message.parameters[name].int64_param = value
    return message


def call(served: Served, message: Any, timeout: float = 60.0) -> Any:
    """One gRPC inference."""
    with grpc.insecure_channel(served.grpc) as channel:
        return GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=timeout)


def grpc_raw(served: Served, bars: NDArray[np.float64]) -> Answer:
    """Forecast over gRPC with raw contents."""
    answer = call(served, grpc_message(bars))
    return {
        o.name: np.frombuffer(raw, "<f8").reshape(tuple(o.shape))
        for o, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def grpc_typed(served: Served, bars: NDArray[np.float64]) -> Answer:
    """Forecast over gRPC with typed contents."""
    answer = call(served, grpc_message(bars, raw=False))
    assert not answer.raw_output_contents
    return {o.name: np.array(o.contents.fp64_contents).reshape(tuple(o.shape)) for o in answer.outputs}


TRANSPORTS = {"json": rest_json, "binary": rest_binary, "grpc raw": grpc_raw, "grpc typed": grpc_typed}


def assert_same_bits(answer: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    """Every tensor, shape and bit."""
    assert answer.keys() == expected.keys()
    for name, array in expected.items():
        assert answer[name].shape == array.shape
        assert answer[name].tobytes() == np.ascontiguousarray(array).tobytes(), name

"""Metadata says all that a client needs, and what a client may add to a request is understood or refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray
from running_server import Published, Served
from v2_requests import INFER, assert_same_bits, call, grpc_message, post, tensor

Windows = NDArray[np.float64]


def test_a_request_can_be_built_from_metadata_alone(served: Served, published: Published, windows: Windows) -> None:
    metadata = httpx.get(served.http + "/v2/models/wavecast").json()
    facts = metadata["parameters"]
    optional = facts["optional_inputs"].split(",")
    (bars,) = [entry for entry in metadata["inputs"] if entry["name"] not in optional]
    order = facts["fields"].split(",")
    assert order == ["open", "high", "low", "close", "volume"]
    window = windows[:1, -facts["window_bars"] :]
    assert bars["shape"] == [-1, -1, len(order)]
    content = {"inputs": [{**bars, "shape": list(window.shape), "data": window.ravel().tolist()}]}
    content["outputs"] = [{"name": entry["name"]} for entry in metadata["outputs"]]
    answer = post(served, content, f"/v2/models/{metadata['name']}/versions/{metadata['versions'][-1]}/infer")
    assert answer.status_code == 200, answer.text
    outputs = {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in answer.json()["outputs"]}
    assert_same_bits(outputs, published.expected(window))


def test_grpc_metadata_is_that_of_rest(served: Served) -> None:
    rest = httpx.get(served.http + "/v2/models/wavecast").json()
    with grpc.insecure_channel(served.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = stub.ModelMetadata(pb.ModelMetadataRequest(name="wavecast"))
        server = stub.ServerMetadata(pb.ServerMetadataRequest())
    for side in ("inputs", "outputs"):
        tensors = [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in getattr(answer, side)]
        assert tensors == rest[side]
    assert (answer.name, list(answer.versions), answer.platform) == (rest["name"], rest["versions"], rest["platform"])
    about = httpx.get(served.http + "/v2").json()
    assert (server.name, server.version, list(server.extensions)) == (
        about["name"],
        about["version"],
        about["extensions"],
    )
    assert about["extensions"][:2] == ["binary_tensor_data", "parameters"]
    assert ("model_repository" in about["extensions"]) == (not served.children())


def test_the_header_of_another_release_is_404(served: Served, published: Published, windows: Windows) -> None:
    release = published.manifest.release
    content = {"inputs": [tensor("bars", windows[:1])]}
    for value, status in ((release, 200), ("0" * 12, 404), ("", 404)):
        headers = {"x-wavecast-release": value}
        assert httpx.post(served.http + INFER, json=content, headers=headers).status_code == status
        assert httpx.get(served.http + "/v2/models/wavecast", headers=headers).status_code == status
        assert httpx.get(served.http + "/v2/models/wavecast/ready", headers=headers).status_code == status
    with grpc.insecure_channel(served.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        ask = grpc_message(windows[:1])
        assert stub.ModelInfer(ask, metadata=[("x-wavecast-release", release)]).model_version == release
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(ask, metadata=[("x-wavecast-release", "0" * 12)])
        assert refused.value.code().name == "NOT_FOUND"
        assert release in refused.value.details()


def test_the_series_of_a_request_is_logged_not_answered(served: Served, windows: Windows) -> None:
    content = {"inputs": [tensor("bars", windows[:1])], "parameters": {"series": "NASDAQ ü 1"}}
    answer = post(served, content)
    assert answer.status_code == 200, answer.text
    assert "series" not in answer.json()["parameters"]
    message = grpc_message(windows[:1])
    message.parameters["series"].string_param = "over gRPC"
    call(served, message)
    for series in ("NASDAQ ü 1", "over gRPC"):
        for _ in range(100):
            if f'"series":"{series}"' in served.log.read_text():
                break
            time.sleep(0.1)
        else:
            raise AssertionError(f"{series} is not in the log")


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("series", "x" * 129, "128"),
        ("series", "a\nb", "printable"),
        ("series", 7, "7"),
        ("max_age", 60, "max_age_s"),
        ("sequence_id", 1, "unknown"),
    ],
)
def test_other_parameters_are_refused_by_name(
    served: Served, windows: Windows, name: str, value: Any, word: str
) -> None:
    refused = post(served, {"inputs": [tensor("bars", windows[:1])], "parameters": {name: value}})
    assert refused.status_code == 400, refused.text
    assert f"'{name}'" in refused.json()["error"]
    assert word in refused.json()["error"]


_TRITON = """
import json, sys
import numpy as np
import tritonclient.http as triton

bars = np.array(json.load(sys.stdin))
client = triton.InferenceServerClient(sys.argv[1])
tensor = triton.InferInput("bars", bars.shape, "FP64")
tensor.set_data_from_numpy(bars, binary_data=False)
names = ("variance", "log_variance", "quantiles")
outputs = [triton.InferRequestedOutput(name, binary_data=False) for name in names]
result = client.infer("wavecast", [tensor], outputs=outputs, headers={"content-type": "application/octet-stream"})
index = client.get_model_repository_index()
assert {"wavecast"} <= {entry["name"] for entry in index}, index
if sys.argv[2] == "embedded":
    client.load_model("wavecast")
print(json.dumps({name: result.as_numpy(name).tolist() for name in names}))
"""


def test_json_that_tritonclient_calls_octets_is_understood(
    served: Served, published: Published, windows: Windows
) -> None:
    layout = "processes" if served.children() else "embedded"
    done = subprocess.run(
        [sys.executable, "-c", _TRITON, served.http.removeprefix("http://"), layout],
        input=json.dumps(windows[:1].tolist()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = {name: np.array(v) for name, v in json.loads(done.stdout).items()}
    assert_same_bits(answer, published.expected(windows[:1]))

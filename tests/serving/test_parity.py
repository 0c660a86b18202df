"""Both layouts answer what the offline pipeline computes, over every transport and with real clients."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from numpy.typing import NDArray
from running_server import Published, Served
from v2_requests import TRANSPORTS, Answer, assert_same_bits, call, grpc_message, post, tensor

Ask = Callable[[Served, NDArray[np.float64]], Answer]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_one_window_is_answered_with_the_same_bits_as_offline(
    served: Served, published: Published, windows: NDArray[np.float64], transport: str
) -> None:
    for window in windows:
        assert_same_bits(TRANSPORTS[transport](served, window[None]), published.expected(window[None]))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_window_in_a_batch_is_answered_as_alone(
    served: Served, published: Published, windows: NDArray[np.float64], transport: str
) -> None:
    answer = TRANSPORTS[transport](served, windows)
    for name, array in published.expected(windows).items():
        np.testing.assert_allclose(answer[name], array, rtol=1e-6)


def test_only_the_last_window_bars_count(served: Served, published: Published, windows: NDArray[np.float64]) -> None:
    longer = np.concatenate([windows[:1, :50] * 0.5, windows[:1]], axis=1)
    assert_same_bits(TRANSPORTS["json"](served, longer), published.expected(windows[:1]))


def test_nested_and_flat_json_are_the_same(served: Served, windows: NDArray[np.float64]) -> None:
    flat = post(served, {"inputs": [tensor("bars", windows[:2])]})
    nested = post(served, {"inputs": [tensor("bars", windows[:2], data=windows[:2].tolist())]})
    assert flat.content == nested.content


def test_a_response_says_what_it_is(
    served: Served, published: Published, windows: NDArray[np.float64], times: NDArray[np.int64]
) -> None:
    inputs = [tensor("bars", windows[:2]), tensor("timestamps", times[:2])]
    answer = post(served, {"id": "x", "inputs": inputs, "outputs": [{"name": "quantiles"}]}).json()
    release = published.manifest.release
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("wavecast", release, "x")
    assert answer["parameters"] == {
        "release": release,
        "horizons": "1,5",
        "quantile_levels": "0.05,0.25,0.5,0.75,0.95",
        "members": "lstm:0.333333,transformer:0.333333,xgboost:0.333333",
        "degraded": False,
        "origin": int(times[:2, -1].max()),
    }
    assert [(o["name"], o["shape"]) for o in answer["outputs"]] == [("quantiles", [2, 2, 5])]


def test_a_grpc_response_says_what_it_is(served: Served, published: Published, windows: NDArray[np.float64]) -> None:
    answer = call(served, grpc_message(windows[:1]))
    assert (answer.id, answer.model_version) == ("a", published.manifest.release)
    assert answer.parameters["degraded"].bool_param is False
    assert answer.parameters["horizons"].string_param == "1,5"
    assert "origin" not in answer.parameters


def test_a_version_is_a_release(served: Served, published: Published, windows: NDArray[np.float64]) -> None:
    body = {"inputs": [tensor("bars", windows[:1])]}
    release = published.manifest.release
    for path in ("", "/ready"):
        assert httpx.get(f"{served.http}/v2/models/wavecast/versions/{release}{path}").status_code == 200
        assert httpx.get(f"{served.http}/v2/models/wavecast/versions/000000000000{path}").status_code == 404
    assert post(served, body, f"/v2/models/wavecast/versions/{release}/infer").status_code == 200
    refused = post(served, body, "/v2/models/wavecast/versions/000000000000/infer")
    assert refused.status_code == 404
    assert release in refused.json()["error"]


def test_metadata_lists_tensors_limits_and_the_release(served: Served, published: Published) -> None:
    metadata = httpx.get(served.http + "/v2/models/wavecast").json()
    assert metadata["versions"] == [published.manifest.release]
    assert metadata["inputs"][0] == {"name": "bars", "datatype": "FP64", "shape": [-1, -1, 5]}
    assert [o["name"] for o in metadata["outputs"]] == ["variance", "log_variance", "quantiles"]
    assert metadata["parameters"]["window_bars"] == 128
    assert metadata["parameters"].keys() >= {"max_batch", "max_bars", "max_bytes", "release"}


def test_health_and_metrics_are_there(served: Served) -> None:
    assert httpx.get(served.http + "/v2/health/live").json() == {"live": True}
    assert httpx.get(served.http + "/v2/health/ready").json() == {"ready": True}
    assert httpx.get(served.http + "/v2/models/wavecast/ready").json() == {"name": "wavecast", "ready": True}
    assert 'request_predict_seconds_count{model_name="wavecast"}' in httpx.get(served.http + "/metrics").text


def test_it_listens_on_the_given_address_only(served: Served) -> None:
    for url in (served.http, f"http://{served.grpc}"):
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.2:{port}/")


@pytest.mark.parametrize("binary", [False, True])
def test_the_kserve_rest_client_gets_the_same_bits(
    served: Served, published: Published, windows: NDArray[np.float64], binary: bool
) -> None:
    async def ask() -> Answer:
        bars = InferInput("bars", [1, 128, 5], "FP64")
        bars.set_data_from_numpy(windows[:1], binary_data=binary)
        async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
            assert await client.is_model_ready(served.http, "wavecast")
            request = InferRequest("wavecast", [bars], parameters={"binary_data_output": binary})
            answer = await client.infer(served.http, request, model_name="wavecast")
        return {o.name: o.as_numpy() for o in answer.outputs}

    assert_same_bits(asyncio.run(ask()), published.expected(windows[:1]))


def test_the_kserve_grpc_client_gets_the_same_bits(
    served: Served, published: Published, windows: NDArray[np.float64]
) -> None:
    async def ask() -> Answer:
        bars = InferInput("bars", [1, 128, 5], "FP64")
        bars.set_data_from_numpy(windows[:1], binary_data=True)
        async with InferenceGRPCClient(served.grpc) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready("wavecast")
            answer = await client.infer(InferRequest("wavecast", [bars]))
        return {o.name: o.as_numpy() for o in answer.outputs}

    assert_same_bits(asyncio.run(ask()), published.expected(windows[:1]))


_TRITON = """
import json, sys
import numpy as np
import tritonclient.grpc, tritonclient.http

bars = np.array(json.load(sys.stdin))
out = {}
for name, module, url in (("http", tritonclient.http, sys.argv[1]), ("grpc", tritonclient.grpc, sys.argv[2])):
    client = module.InferenceServerClient(url)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("wavecast")
    metadata = client.get_model_metadata("wavecast")
    assert metadata["name"] == "wavecast" if name == "http" else metadata.name == "wavecast"
    tensor = module.InferInput("bars", bars.shape, "FP64")
    tensor.set_data_from_numpy(bars)
    result = client.infer("wavecast", [tensor], request_id="t", timeout=5_000_000)
    out[name] = {o: result.as_numpy(o).tolist() for o in ("variance", "log_variance", "quantiles")}
    client.close()
print(json.dumps(out))
"""


def test_tritonclient_gets_the_same_bits_over_http_and_grpc(
    served: Served, published: Published, windows: NDArray[np.float64]
) -> None:
    """In another process, because it registers the same protobuf names as the SDK."""
    done = subprocess.run(
        [sys.executable, "-c", _TRITON, served.http.removeprefix("http://"), served.grpc],
        input=json.dumps(windows[:1].tolist()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for answer in json.loads(done.stdout).values():
        assert_same_bits({name: np.array(v) for name, v in answer.items()}, published.expected(windows[:1]))

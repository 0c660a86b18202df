"""What a server tells of its answers: the cache, the log, the metrics, and what it is."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from running_server import Published, Served, serve
from v2_requests import TRANSPORTS, assert_same_bits, call, grpc_message, grpc_raw, post, rest_json, tensor


@pytest.fixture(scope="module", params=["embedded", "processes"])
def telling(
    request: pytest.FixtureRequest, published: Published, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server that keeps the answers of eight windows, and logs everything."""
    log = tmp_path_factory.mktemp("telling") / "log"
    server = serve(published.store, request.param, log, WAVECAST_CACHE_WINDOWS="8", WAVECAST_LOG_PAYLOAD="true")
    yield server
    assert server.stop() == 0, server.log.read_text()


def _metrics(served: Served) -> dict[str, float]:
    lines = httpx.get(served.http + "/metrics").text.splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def _lookups(served: Served) -> tuple[float, float]:
    metrics = _metrics(served)
    return tuple(metrics.get(f'wavecast_cache_lookups_total{{result="{r}"}}', 0.0) for r in ("hit", "miss"))  # type: ignore[return-value]


def _logged(served: Served, identifier: str) -> dict[str, Any]:
    """The line of one inference, once it is written."""
    for _ in range(200):
        for line in served.log.read_text().splitlines():
            if line.startswith("{") and (entry := json.loads(line)).get("id") == identifier:
                return dict(entry)
        time.sleep(0.05)
    raise AssertionError(f"'{identifier}' was not logged: {served.log.read_text()}")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_cached_answer_is_the_same_bits_whatever_the_transport(
    telling: Served, published: Published, windows: NDArray[np.float64], transport: str
) -> None:
    bars = windows[:1] * (1.0 + list(TRANSPORTS).index(transport))
    hits, misses = _lookups(telling)
    for _ in range(3):
        assert_same_bits(TRANSPORTS[transport](telling, bars), published.expected(bars))
    assert _lookups(telling) == (hits + 2, misses + 1)


def test_only_the_bars_that_count_are_the_key_and_all_bars_are_still_checked(
    telling: Served, published: Published, windows: NDArray[np.float64], times: NDArray[np.int64]
) -> None:
    recent = windows[1:2]
    longer = np.concatenate([recent[:, :1], recent], axis=1)
    expected = published.expected(recent)
    assert_same_bits(rest_json(telling, recent), expected)
    hits, misses = _lookups(telling)
    assert_same_bits(rest_json(telling, longer), expected)
    assert _lookups(telling) == (hits + 1, misses)
    longer[0, 0, 3] = -1.0
    assert post(telling, {"inputs": [tensor("bars", longer)]}).status_code == 400
    changed = recent.copy()
    changed[0, 5, 3] = np.nextafter(changed[0, 5, 3], 0.0)  # one bit is another window
    assert_same_bits(rest_json(telling, changed), published.expected(changed))
    assert _lookups(telling) == (hits + 1, misses + 1)

    now = np.ascontiguousarray(times[:1] - times[0, -1] + time.time_ns())
    fresh = {"inputs": [tensor("bars", recent), tensor("timestamps", now)], "parameters": {"max_age_s": 3600}}
    answer = post(telling, fresh).json()
    assert answer["parameters"]["origin"] == int(now[0, -1])
    stale = {"inputs": [tensor("bars", recent), tensor("timestamps", times[:1])], "parameters": {"max_age_s": 3600}}
    refused = post(telling, stale)
    assert refused.status_code == 400
    assert "s old" in refused.json()["error"]


def test_the_cache_is_bounded_by_its_windows(telling: Served, windows: NDArray[np.float64]) -> None:
    """Seven windows fill it but for one, so the next two push them out; a batch beyond it is not kept."""
    grpc_raw(telling, windows * 7.0)
    grpc_raw(telling, windows[:1] * 8.0)
    hits, misses = _lookups(telling)
    grpc_raw(telling, windows * 7.0)
    assert _lookups(telling) == (hits + 1, misses)
    grpc_raw(telling, windows[:2] * 9.0)
    grpc_raw(telling, windows[:1] * 8.0)
    assert _lookups(telling) == (hits + 1, misses + 2), "the least recently used one went first"
    large = np.concatenate([windows, windows]) * 10.0
    grpc_raw(telling, large)
    grpc_raw(telling, large)
    assert _lookups(telling) == (hits + 1, misses + 4)


def test_a_degraded_answer_is_counted_and_not_kept(
    published: Published, windows: NDArray[np.float64], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("degraded") / "log"
    server = serve(published.store, "processes", log, WAVECAST_CACHE_WINDOWS="8", WAVECAST_LOG_SAMPLE="0")
    lstm = server.children()["lstm"]
    os.kill(lstm, signal.SIGSTOP)
    assert_same_bits(
        _tensors(post(server, {"inputs": [tensor("bars", windows[:1])], "parameters": {"timeout": 1_000_000}})),
        published.expected(windows[:1], "transformer", "xgboost"),
    )
    os.kill(lstm, signal.SIGCONT)
    for _ in range(100):  # until the member is back
        answer = _tensors(post(server, {"inputs": [tensor("bars", windows[:1])]}))
        if answer["variance"].tobytes() == published.expected(windows[:1])["variance"].tobytes():
            break
        time.sleep(0.1)
    assert_same_bits(rest_json(server, windows[:1]), published.expected(windows[:1]))
    assert _metrics(server)["wavecast_degraded_answers_total"] >= 1
    assert server.stop() == 0
    assert '"infer"' not in server.log.read_text(), "nothing is sampled"


def _tensors(response: httpx.Response) -> dict[str, NDArray[np.float64]]:
    assert response.status_code == 200, response.text
    return {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in response.json()["outputs"]}


def test_an_inference_is_one_line_of_the_log(
    telling: Served, published: Published, windows: NDArray[np.float64]
) -> None:
    post(telling, {"id": "rest-1", "inputs": [tensor("bars", windows[2:4])], "parameters": {"series": "IXIC"}})
    line = _logged(telling, "rest-1")
    assert (line["event"], line["protocol"], line["model"], line["code"]) == ("infer", "rest", "wavecast", "OK")
    assert (line["rows"], line["series"], line["release"]) == (2, "IXIC", published.manifest.release)
    assert line["members"] == "lstm:0.333333,transformer:0.333333,xgboost:0.333333"
    assert {"decode", "queue", "features", "members", "encode"} <= set(line["stages_ms"])
    assert 0 < sum(line["stages_ms"].values()) <= line["ms"] * 1.001 + 0.01
    assert np.array_equal(np.array(line["tensors"]["bars"]), windows[2:4])

    message = grpc_message(windows[:1], timeout=0)
    message.id = "grpc-1"
    with pytest.raises(Exception, match="'timeout'"):
        call(telling, message)
    line = _logged(telling, "grpc-1")
    assert (line["protocol"], line["code"]) == ("grpc", "INVALID_ARGUMENT")
    assert "'timeout' is 0" in line["error"]


def test_metrics_resolve_a_fifth_of_a_millisecond_and_their_labels_are_bounded(
    telling: Served, windows: NDArray[np.float64]
) -> None:
    for name in ("a", "b", "c"):
        assert post(telling, {}, f"/v2/models/{name}/infer").status_code == 404
    rest_json(telling, windows[4:5])
    metrics = _metrics(telling)
    assert metrics['wavecast_request_seconds_count{code="NOT_FOUND",model="unknown",protocol="rest"}'] == 3
    buckets = [name for name in metrics if name.startswith("wavecast_request_seconds_bucket") and 'code="OK"' in name]
    bounds = {float(re.search(r'le="([^"]+)"', name)[1]) for name in buckets}  # type: ignore[index]
    assert {0.0002, 0.001, 0.01, 0.1, 1.0, float("inf")} <= bounds
    for stage in ("queue", "decode", "features", "members", "encode"):
        assert metrics[f'wavecast_stage_seconds_count{{stage="{stage}"}}'] >= 1
    if not telling.children():  # in the other layout the router's process counts them
        for kind in ("lstm", "transformer", "xgboost"):
            assert metrics[f'wavecast_member_answers_total{{member="{kind}",outcome="ok"}}'] >= 1
    models = {m for name in metrics if (m := re.search(r'wavecast_request.*model="([^"]+)"', name))}
    assert {found[1] for found in models} <= {"wavecast", "unknown"}
    assert metrics["wavecast_in_flight"] == 0


def test_the_root_says_what_the_server_is(telling: Served, published: Published) -> None:
    root = httpx.get(telling.http + "/").json()
    assert root["name"] == "wavecast"
    assert root["models"]["wavecast"] == published.manifest.release
    assert httpx.get(telling.http + root["docs"]).status_code == 200

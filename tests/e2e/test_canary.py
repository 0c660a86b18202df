"""A canary under load, as the README's commands make one: the split, the header, and not one failed request."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import grpc
import httpx
import numpy as np
import pytest
from chart import NAME, Chart, Release, documented
from cluster import ready_since, until
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from load import Load
from numpy.typing import NDArray
from v2_requests import grpc_message

HEADER = "x-wavecast-release"
WHOLE_S, ONE_S = 30.0, 8.0
ROLL_S = 180.0
"""A rolling update of every release that runs, one pod after the other, beside the load."""
STAY_S = 5.0
"""How long each share is kept under load."""

Bars = NDArray[np.float64]


def start_canary(chart: Chart, release: Release, percent: int) -> None:
    """The README's command."""
    command = documented("wavecast release canary", {"RELEASE": release.name, "20": str(percent)})
    chart.cluster.run(*command)


def shares(load: Load, since: float) -> Counter[str]:
    """Answers by release of what was asked since then."""
    return Counter(one.release for one in load.since(since))


def assert_unharmed(load: Load) -> None:
    """Every request was answered, whole."""
    print(load.summary())
    assert len(load.outcomes) > 100
    assert not load.failures
    assert not any(one.degraded for one in load.outcomes)


def test_from_0_to_20_to_50_to_100_to_promoted_without_a_failed_request(
    settled: Chart, releases: tuple[Release, Release], bars: Bars
) -> None:
    chart, (first, second) = settled, releases
    with Load(chart, bars) as load:
        for percent in (0, 20, 50, 100):
            start_canary(chart, second, percent)
            if percent == 0:
                assert_quick_start(chart, second)
            began = time.monotonic()
            if percent == 20:
                assert_split(chart, bars, first, second)
                assert_forced(chart, bars, first, second)
            time.sleep(STAY_S)
            counted = shares(load, began)
            print(f"canary at {percent} %: {dict(counted)}")
            slack = 0.1 * counted.total() if 0 < percent < 100 else 0
            assert counted[second.name] == pytest.approx(percent / 100 * counted.total(), abs=slack)
        chart.cluster.run(*documented("wavecast release promote", {}))
        began = time.monotonic()
        time.sleep(STAY_S)
        assert shares(load, began).keys() == {second.name}
    assert_unharmed(load)
    assert {one["release"] for one in chart.cluster.release_status()["releases"]} == {second.name}


def assert_quick_start(chart: Chart, release: Release) -> None:
    """From the InferenceServices to all of them ready, as Kubernetes noted it."""
    services = [chart.cluster.get("inferenceservice", name) for name in release.services]
    made = min(datetime.fromisoformat(one["metadata"]["creationTimestamp"]) for one in services)
    ready = [ready_since(one) for one in services]
    assert all(ready)
    took_s = (max(at for at in ready if at) - made).total_seconds()
    print(f"whole release, {len(services)} services, under load: ready {took_s:.0f} s after it was made")
    assert took_s <= WHOLE_S


def assert_split(chart: Chart, bars: Bars, first: Release, second: Release) -> None:
    """1,000 requests on connections of their own, 200 ± 40 of them answered by the canary."""
    tensor = {"name": "bars", "datatype": "FP64", "shape": list(bars.shape), "data": bars.ravel().tolist()}
    with httpx.Client(base_url=chart.url, headers=chart.headers, timeout=10) as client:

        def ask(_: int) -> str:
            answer = client.post("/v2/models/wavecast/infer", json={"inputs": [tensor]})
            assert answer.status_code == 200, answer.text
            named = answer.json()
            assert named["model_version"] == named["parameters"]["release"]
            return str(named["model_version"])

        with ThreadPoolExecutor(4) as pool:
            counted = Counter(pool.map(ask, range(1000)))
    print(f"1,000 requests at 20 %: {dict(counted)}")
    assert counted.keys() == {first.name, second.name}
    assert abs(counted[second.name] - 200) <= 40


def assert_forced(chart: Chart, bars: Bars, *releases: Release) -> None:
    """Header, gRPC metadata and version in the path each pick a release, whatever the split."""
    with grpc.insecure_channel(chart.address, [("grpc.default_authority", chart.grpc_host)]) as channel:
        stub = GRPCInferenceServiceStub(channel)
        for release in releases:
            name = release.name
            for _ in range(10):
                assert chart.infer(bars, **{HEADER: name}).json()["model_version"] == name
                path = f"/v2/models/wavecast/versions/{name}"
                assert chart.infer(bars, path).json()["model_version"] == name
                metadata = (*chart.metadata, (HEADER, name))
                assert stub.ModelInfer(grpc_message(bars), timeout=10, metadata=metadata).model_version == name


def test_a_member_pod_is_deleted_without_a_failed_request(settled: Chart, bars: Bars) -> None:
    chart = settled
    service = f"{NAME}-lstm-{chart.first.members['lstm']}"
    old = {pod["metadata"]["name"] for pod in chart.cluster.pods(service)}
    with Load(chart, bars) as load:
        time.sleep(STAY_S)
        chart.cluster.kubectl("delete", "pod", min(old), "--wait=false")
        until("the pod that follows is ready", lambda: len(ready_pods(chart, service) - {min(old)}) == len(old), 90)
        time.sleep(STAY_S)
    assert_unharmed(load)
    (new,) = (pod for pod in chart.cluster.pods(service) if pod["metadata"]["name"] not in old)
    started = new["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
    ready = ready_since(new)
    assert ready is not None
    took_s = (ready - datetime.fromisoformat(started)).total_seconds()
    print(f"one server, under load: ready {took_s:.0f} s after it was started")
    assert took_s <= ONE_S


def ready_pods(chart: Chart, *services: str) -> set[str]:
    """Names of the pods that are ready and do not leave."""
    pods = chart.cluster.pods(*services)
    return {pod["metadata"]["name"] for pod in pods if ready_since(pod) and "deletionTimestamp" not in pod["metadata"]}


def test_the_router_rolls_without_a_failed_request(settled: Chart, bars: Bars) -> None:
    chart = settled
    service = f"{NAME}-{chart.first.name}"
    old = ready_pods(chart, service)
    with Load(chart, bars) as load:
        time.sleep(STAY_S)
        chart.upgrade("--set", f"router.settings.log_sample={0.5 + np.random.default_rng().random() / 4:.6f}")
        until("as many other pods are ready", lambda: len(ready_pods(chart, service) - old) == len(old), ROLL_S)
        until("the old ones are gone", lambda: len(chart.cluster.pods(service)) == len(old), ROLL_S)
        time.sleep(STAY_S)
    assert_unharmed(load)


def test_helm_rollback_of_a_traffic_revision_loses_no_request(
    settled: Chart, releases: tuple[Release, Release], bars: Bars
) -> None:
    chart, (first, second) = settled, releases
    start_canary(chart, second, 20)
    start_canary(chart, second, 50)
    with Load(chart, bars) as load:
        time.sleep(STAY_S)
        chart.cluster.helm("rollback", NAME)
        chart.cluster.kubectl("wait", "--for=jsonpath={.spec.rules[-1].backendRefs[-1].weight}=20", f"httproute/{NAME}")
        time.sleep(2.0)
        began = time.monotonic()
        time.sleep(2 * STAY_S)
        counted = shares(load, began)
    print(f"after the rollback to 20 %: {dict(counted)}")
    assert counted[second.name] == pytest.approx(0.2 * counted.total(), abs=0.1 * counted.total())
    assert_unharmed(load)
    assert {one["release"] for one in chart.cluster.release_status()["releases"]} == {first.name, second.name}


def test_wavecast_release_rollback_loses_no_request(
    settled: Chart, releases: tuple[Release, Release], bars: Bars
) -> None:
    """Of a promoted release: the one before is started again, gets the traffic, and the other is removed."""
    chart, (first, second) = settled, releases
    start_canary(chart, second, 100)
    chart.cluster.run(*documented("wavecast release promote", {}))
    with Load(chart, bars) as load:
        time.sleep(STAY_S)
        chart.cluster.wavecast("release", "rollback")
        began = time.monotonic()
        time.sleep(STAY_S)
        assert shares(load, began).keys() == {first.name}
    assert_unharmed(load)
    assert [one["release"] for one in chart.cluster.release_status()["releases"]] == [first.name]

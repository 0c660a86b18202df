"""`helm install --wait` as documented, the first answer, and the same bits as from `wavecast serve`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from chart import NAME, Chart, documented
from clients import ask_with_kserve, ask_with_triton
from cluster import NAMESPACE, ready_since
from numpy.typing import NDArray
from running_server import serve
from servers import ObjectStore
from v2_requests import TRANSPORTS, assert_same_bits

FIRST_ANSWER_S = 90.0


def test_every_service_is_ready_after_helm_install(chart: Chart) -> None:
    services = chart.cluster.get("inferenceservices")["items"]
    assert {one["metadata"]["name"] for one in services} == set(chart.first.services)
    assert all(ready_since(one) for one in services)
    assert chart.cluster.release_status()["ready"]


def test_the_first_answer_comes_soon_after_helm_install(chart: Chart) -> None:
    if not chart.timings_s:
        pytest.skip("was installed by an earlier run")
    print({what: f"{took_s:.1f} s" for what, took_s in chart.timings_s.items()})
    assert chart.timings_s["answer"] < FIRST_ANSWER_S
    assert chart.timings_s["ready"] < FIRST_ANSWER_S


def test_the_command_that_helm_install_ends_with_works(chart: Chart) -> None:
    lines = chart.cluster.helm("get", "notes", NAME).splitlines()
    (command,) = (line for line in lines if line.startswith("  curl "))
    assert json.loads(chart.cluster.run("sh", "-c", command)) == {"name": "wavecast", "ready": True}


def test_helm_test_passes(chart: Chart) -> None:
    chart.cluster.run(*documented("helm test", {}))


def test_clients_get_the_bits_of_wavecast_serve(
    chart: Chart, store: ObjectStore, bars: NDArray[np.float64], tmp_path: Path
) -> None:
    local = serve(store.uri, "embedded", tmp_path / "log", WAVECAST_RELEASE=chart.first.name, **store.environment)
    try:
        plain = TRANSPORTS["json"](local, bars)
    finally:
        assert local.stop() == 0
    answers = {f"kserve {name}": answer for name, answer in ask_with_kserve(chart, bars).items()}
    answers |= {f"triton {name}": answer for name, answer in ask_with_triton(chart, bars).items()}
    assert len(answers) == 5
    for name, answer in answers.items():
        print(name)
        assert_same_bits(answer, plain)


def test_nobody_is_answered_without_a_key(chart: Chart, bars: NDArray[np.float64]) -> None:
    assert chart.infer(bars, authorization="Bearer wc_no").status_code == 401


def test_pods_meet_the_restricted_standard(chart: Chart) -> None:
    """As the API server judges them, without the container that KServe adds for downloads, which is KServe's matter."""
    cluster, standard = chart.cluster, "pod-security.kubernetes.io/enforce=restricted"
    cluster.kubectl("label", "--overwrite", "namespace", NAMESPACE, standard)
    try:
        for pod in cluster.pods():
            name, spec = pod["metadata"]["name"], {**pod["spec"], "initContainers": []}
            alone = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-copy"}, "spec": spec}
            cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(alone))
    finally:
        cluster.kubectl("label", "namespace", NAMESPACE, f"{standard.partition('=')[0]}-")

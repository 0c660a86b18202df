"""A namespace of a real cluster with two real releases in a real object store, and the chart installed as documented.

Everything is made once for all tests. With E2E_KEEP set it is left as it is and found again by the next run.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chart import HOST, Chart, Release, documented, installed
from cluster import NAMESPACE, ROOT, Cluster, until
from numpy.typing import NDArray
from servers import ObjectStore, seaweedfs

sys.path.append(str(Path(__file__).parents[1] / "serving"))

from optimization.data.bars import BarSeries, bar_table
from optimization.data.demo import demo_bars
from optimization.data.write import write_bars

KEEP = bool(os.environ.get("E2E_KEEP"))
STATE = ROOT / ".wavecast" / "e2e"
BARS = 900
ORDER = ("images", "install", "canary", "degraded", "failures", "jobs", "uninstall", "examples")
"""Of the modules; each finds the chart as `chart` installs it, or brings it back with `Chart.settle`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows what the cluster had to say."""
    report = yield
    if report.failed and "cluster" in getattr(item, "funcargs", {}):
        report.sections.append(("cluster", item.funcargs["cluster"].diagnosis()))
    return report


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """Folder of what is kept between runs, keys of the cluster among it."""
    if not KEEP:
        shutil.rmtree(STATE, ignore_errors=True)
    STATE.parent.mkdir(exist_ok=True)
    STATE.mkdir(mode=0o700, exist_ok=True)
    yield STATE
    if not KEEP:
        shutil.rmtree(STATE)


@pytest.fixture(scope="session")
def cluster(state: Path) -> Iterator[Cluster]:
    """The cluster, with the tests' namespace."""
    cluster = Cluster.of_kubeconfig(state)
    there = cluster.kubectl("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name")
    assert KEEP or not there, f"the cluster has a namespace {NAMESPACE}; delete it, or set E2E_KEEP to go on with it"
    if not there:
        cluster.kubectl("create", "namespace", NAMESPACE)
    yield cluster
    if not KEEP:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")


@pytest.fixture(scope="session")
def store(cluster: Cluster, state: Path) -> Iterator[ObjectStore]:
    """An object store that this machine and the pods reach, and its Secret `models-s3` as KServe wants it."""
    with seaweedfs(cluster.host_address, state / "s3") as store:
        annotations = {"s3-endpoint": store.endpoint, "s3-usehttps": "0", "s3-region": "us-east-1"}
        cluster.apply(secret("models-s3", store.key, store.secret, annotations))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in store.environment.items():
                patch.setenv(name, value)
                cluster.environment[name] = value
            yield store


def secret(name: str, key: str, value: str, annotations: dict[str, str]) -> dict[str, object]:
    """A Secret with the keys of an S3 service."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": {f"serving.kserve.io/{k}": v for k, v in annotations.items()}},
        "stringData": {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": value},
    }


@pytest.fixture(scope="session")
def bars_file(state: Path) -> Path:
    """CSV file of real bars, few enough to train on in half a minute."""
    file, series = state / "bars.csv", demo_bars("nasdaq").series[0]
    write_bars(bar_table([BarSeries("", series.timestamps[:BARS], series.bars[:BARS], None)], "bars"), file)
    return file


@pytest.fixture(scope="session")
def bars(bars_file: Path) -> NDArray[np.float64]:
    """A real window (1, 128, 5)."""
    return np.ascontiguousarray(demo_bars("nasdaq").series[0].bars[None, BARS - 128 : BARS])


@pytest.fixture(scope="session")
def releases(cluster: Cluster, store: ObjectStore, state: Path, bars_file: Path) -> tuple[Release, Release]:
    """Two releases without a common member, trained with other seeds, published to the store."""
    return published(cluster, store, state, bars_file, 0), published(cluster, store, state, bars_file, 1)


def published(cluster: Cluster, store: ObjectStore, state: Path, bars_file: Path, seed: int) -> Release:
    """Train with a seed, unless that was done, and publish."""
    run = state / f"run-{seed}"
    if not run.exists():
        cluster.wavecast("train", "--data", str(bars_file), "--seed", str(seed), "--run", str(run))
    made = json.loads(cluster.wavecast("publish", "--run", str(run), "--store", store.uri, "--json"))
    return Release(made["release"], made["members"])


@pytest.fixture(scope="session")
def chart(
    cluster: Cluster, store: ObjectStore, releases: tuple[Release, Release], state: Path, bars: NDArray[np.float64]
) -> Chart:
    """The chart, installed as the README says with the first release stable; the second one does not run."""
    first = releases[0]
    values = state / "values.yaml"
    chart = Chart(cluster, cluster.gateway_address, _keys(cluster, state), first, values)
    if installed(cluster):
        return chart
    namespace, gateway = cluster.gateway
    values.write_text(
        json.dumps(
            {
                "image": {"registry": os.environ.get("E2E_REGISTRY", "localhost"), "tag": os.environ["E2E_TAG"]},
                "store": {
                    "uri": store.uri,
                    "endpoint": store.endpoint,
                    "useHttps": False,
                    "credentials": {"existingSecret": "models-s3"},
                },
                "gateway": {"name": gateway, "namespace": namespace, "hostnames": [HOST]},
                "auth": {"existingSecret": "wavecast-keys", "testKeySecret": "wavecast-test-key"},
                "releases": [first.values],
                "traffic": {"stable": first.name},
            }
        )
    )
    began = time.monotonic()
    cluster.run(*documented("helm install", {"values.yaml": str(values)}))
    chart.timings_s["install"] = time.monotonic() - began
    assert chart.infer(bars).status_code == 200
    chart.timings_s["answer"] = time.monotonic() - began
    until("all is ready", lambda: cluster.release_status()["ready"], 10)
    chart.timings_s["ready"] = time.monotonic() - began
    return chart


def _keys(cluster: Cluster, state: Path) -> str:
    """Who may ask: the chart gets the hashes, `helm test` and we the key."""
    key, hashes = state / "key", state / "keys"
    if not key.exists():
        key.write_text(cluster.wavecast("keys", "create", "desk", "--file", str(hashes)).strip())
    for name, file in (("wavecast-keys", hashes), ("wavecast-test-key", key)):
        made = cluster.kubectl(
            "create", "secret", "generic", name, f"--from-file={file}", "--dry-run=client", "-o=json"
        )
        cluster.kubectl("apply", "-f", "-", stdin=made)
    return key.read_text()


@pytest.fixture
def settled(chart: Chart) -> Iterator[Chart]:
    """The chart with nothing but the first release running, before the test and after it."""
    chart.settle()
    yield chart
    chart.settle()

"""`manifests/examples/`: applied as they are, and with what their comments say to put in, they answer without helm."""

from __future__ import annotations

import os

import httpx
import numpy as np
import yaml
from chart import Release
from cluster import NAMESPACE, ROOT, Cluster, until
from numpy.typing import NDArray
from servers import ObjectStore

EXAMPLES = ROOT / "manifests" / "examples"
RELEASE = "b0289c285c0a"
MEMBERS = {"lstm": "1f579717bf34", "transformer": "5d0a6f7c2e11", "xgboost": "9c3e8b7a4d20"}
HOST = "wavecast.example.com"
ANSWER_S = 120.0


def test_they_apply_as_they_are(cluster: Cluster) -> None:
    """As the API server and KServe's webhooks judge them."""
    taken = cluster.kubectl("apply", "--dry-run=server", "-f", str(EXAMPLES)).splitlines()
    objects = [one for file in EXAMPLES.iterdir() for one in yaml.safe_load_all(file.read_text())]
    assert len(taken) == len(objects)


def serving(cluster: Cluster, store: ObjectStore, release: Release) -> str:
    """All of them but the job, for a release that is there, in the tests' namespace."""
    namespace, gateway = cluster.gateway
    replaced = {
        'AWS_ACCESS_KEY_ID: "change-me"': f'AWS_ACCESS_KEY_ID: "{store.key}"',
        'AWS_SECRET_ACCESS_KEY: "change-me"': f'AWS_SECRET_ACCESS_KEY: "{store.secret}"',
        "s3.storage.svc:9000": store.endpoint,
        "s3://models/wavecast": store.uri,
        "registry.example.com/": f"{os.environ.get('E2E_REGISTRY', 'localhost')}/",
        ":0.1.0": f":{os.environ['E2E_TAG']}",
        RELEASE: release.name,
        **{version: release.members[kind] for kind, version in MEMBERS.items()},
        "name: public": f"name: {gateway}",
        "namespace: gateways": f"namespace: {namespace}",
        "-headless.default:": f"-headless.{NAMESPACE}:",
    }
    text = "\n---\n".join(file.read_text() for file in sorted(EXAMPLES.iterdir()) if "retraining" not in file.name)
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def test_with_ones_own_release_they_answer(
    cluster: Cluster, store: ObjectStore, releases: tuple[Release, Release], bars: NDArray[np.float64]
) -> None:
    objects, release = serving(cluster, store, releases[0]), releases[0]
    tensor = {"name": "bars", "datatype": "FP64", "shape": list(bars.shape), "data": bars.ravel().tolist()}

    def ask() -> httpx.Response:
        url = f"http://{cluster.gateway_address}/v2/models/wavecast/infer"
        return httpx.post(url, json={"inputs": [tensor]}, headers={"host": HOST}, timeout=10)

    cluster.kubectl("apply", "-f", "-", stdin=objects)
    try:
        until("every service is ready", lambda: all(cluster.ready(one) for one in release.services), ANSWER_S)
        until("an answer", lambda: ask().status_code == httpx.codes.OK, ANSWER_S)
        said = ask().json()["parameters"]
    finally:
        cluster.kubectl("delete", "-f", "-", "--wait", stdin=objects)
    assert said["release"] == release.name
    assert {one.partition(":")[0] for one in said["members"].split(",")} == set(MEMBERS)
    assert said["degraded"] is False

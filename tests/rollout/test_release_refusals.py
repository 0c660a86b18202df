"""What `wavecast release` refuses before anything is half-made: each with one line that says what is missing."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from api_server import ApiServer, define, find_helm
from cast import Cast
from command_line import Ended, wavecast
from namespaces import CHART, Namespace, make_namespace
from small_release import publish_release

from predictors.core.artifact import ReleaseManifest
from predictors.store import Store, release_folder

pytestmark = pytest.mark.xdist_group("rollout")
Stored = tuple[Path, list[ReleaseManifest]]


def refused(ended: Ended, code: int, message: str) -> None:
    """One line ``error: ...`` that matches, no traceback, and nothing on standard output."""
    assert ended.code == code, (ended.out, ended.err)
    assert ended.out == ""
    assert ended.err.startswith("error: "), ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert re.search(message, ended.err), ended.err


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Environment of what is started inside."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def kubeconfig(folder: Path, context: str) -> Path:
    """A kubeconfig for a port at which nobody listens."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": "gone", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": context, "context": {"cluster": "gone", "user": "me"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def installed(namespace: Namespace, cast: Cast, store: Stored) -> Namespace:
    """A namespace in which one release runs."""
    namespace.install(store[1][0])
    return namespace


def test_without_helm_it_says_how_to_get_it(tmp_path: Path) -> None:
    with variables(HELM="no-such-helm"):
        refused(wavecast("release", "status", cwd=tmp_path), 2, "there is no program 'no-such-helm'; install helm 3.18")


def test_without_a_kubeconfig_or_its_context_it_says_what_to_set(tmp_path: Path) -> None:
    with variables(HELM=sys.executable, KUBECONFIG=str(tmp_path / "none")):
        refused(wavecast("release", "status", cwd=tmp_path), 1, "no usable kubeconfig .*; set KUBECONFIG, or name")
    with variables(HELM=sys.executable, KUBECONFIG=str(kubeconfig(tmp_path, "prod"))):
        ended = wavecast("release", "status", "--context", "test", cwd=tmp_path)
        refused(ended, 2, "the kubeconfig has no context 'test'; it has prod")


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with variables(HELM=sys.executable, KUBECONFIG=str(kubeconfig(tmp_path, "gone"))):
        ended = wavecast("release", "status", cwd=tmp_path)
        refused(ended, 1, "the cluster at http://127.0.0.1:1 does not answer: .*refused")


def test_in_a_pod_a_kubeconfig_at_home_counts_as_for_helm(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    kubeconfig(tmp_path, "gone").rename(tmp_path / ".kube" / "config")
    with variables(HELM=sys.executable, HOME=str(tmp_path), KUBERNETES_SERVICE_HOST="127.0.0.1"):
        os.environ.pop("KUBECONFIG", None)
        ended = wavecast("release", "status", cwd=tmp_path)
        refused(ended, 1, "the cluster at http://127.0.0.1:1 does not answer: .*refused")


def test_ctrl_c_lets_helm_finish_the_revision_that_it_has_begun(tmp_path: Path) -> None:
    helm = tmp_path / "helm"
    helm.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nsleep 2\ntouch {tmp_path}/ended\n")
    helm.chmod(0o755)
    upgrade = "from pathlib import Path; from optimization.rollout.helm import Helm;"
    upgrade += "Helm('wavecast', 'default', None).upgrade(Path('chart'), {}, 'a change')"
    with (
        variables(HELM=str(helm)),
        subprocess.Popen([sys.executable, "-c", upgrade], stderr=subprocess.DEVNULL) as command,
    ):
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        command.send_signal(signal.SIGINT)
    assert command.returncode != 0
    assert (tmp_path / "ended").exists()


def test_a_cluster_without_kserve_or_gateway_api_is_told_so(bare_server: ApiServer, tmp_path: Path) -> None:
    with variables(HELM=str(find_helm()), KUBECONFIG=str(bare_server.kubeconfig("admin", "default"))):
        refused(wavecast("release", "status", cwd=tmp_path), 1, "has no API serving.kserve.io/v1beta1; install KServe")
    define(bare_server, "serving.kserve.io/v1beta1")
    with variables(HELM=str(find_helm()), KUBECONFIG=str(bare_server.kubeconfig("admin", "default"))):
        refused(wavecast("release", "status", cwd=tmp_path), 1, "has no API gateway.networking.k8s.io/v1; install")


def test_who_may_nothing_is_told_every_right_that_is_missing(installed: Namespace) -> None:
    installed.user = "nobody"
    refused(installed.release("status"), 1, r"may not do what it takes .*: get,list secrets \(helm's")
    installed.user = "viewer"
    assert installed.release("status").code == 0
    ended = installed.release("abort")
    refused(ended, 1, r"create,patch,update,delete inferenceservices.serving.kserve.io .*; bind the chart's")


def test_a_chart_release_that_is_not_there_is_named(namespace: Namespace, cast: Cast) -> None:
    namespace.user = "admin"
    refused(namespace.release("status", "--name", "other"), 2, "has no chart release 'other'; 'helm install' comes")


def test_a_gateway_that_is_missing_is_named(installed: Namespace) -> None:
    installed.server.request(
        "DELETE", f"/apis/gateway.networking.k8s.io/v1/namespaces/{installed.name}/gateways/gateway"
    )
    installed.user = "admin"
    refused(installed.release("abort"), 1, "there is no Gateway 'gateway' in namespace '.*'; values 'gateway'")


def test_a_chart_of_another_version_is_not_mixed_in(installed: Namespace, tmp_path: Path, store: Stored) -> None:
    shutil.copytree(CHART, tmp_path / "chart")
    file = tmp_path / "chart" / "Chart.yaml"
    file.write_text(file.read_text().replace("version: 0.1.0", "version: 0.2.0", 1))
    arguments = ("canary", store[1][1].release, "--percent", "20", "--chart")
    ended = installed.release(*arguments, str(tmp_path / "chart"))
    refused(ended, 2, "was made with wavecast-0.1.0, and '.*' is wavecast-0.2.0; upgrade it with 'helm upgrade' first")
    refused(installed.release(*arguments, "none"), 2, "there is no chart at 'none'; name its folder with --chart")
    assert len(installed.revisions()) == 1


def leave_revision(installed: Namespace, number: int, status: str) -> None:
    """Write into helm's record what became of a revision."""
    secret = f"/api/v1/namespaces/{installed.name}/secrets/sh.helm.release.v1.wavecast.v{number}"
    record = installed.server.request("GET", secret)["data"]["release"]
    content = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(record))))
    content["info"]["status"] = status
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(content).encode()))).decode()
    body = {"data": {"release": packed}, "metadata": {"labels": {"status": status}}}
    installed.server.request("PATCH", secret, body, "application/merge-patch+json")


def test_a_revision_in_progress_is_waited_for_by_its_own_helm(installed: Namespace) -> None:
    installed.helm("upgrade", "wavecast", str(CHART), "--reuse-values")
    leave_revision(installed, 2, "pending-upgrade")
    refused(
        installed.release("abort"),
        1,
        "is pending-upgrade at revision 2: another helm is at work; if none",
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [("pending-install", "is pending-install at revision 1"), ("failed", "has no completed revision")],
)
def test_a_first_revision_that_is_not_completed_can_be_looked_at_and_not_changed(
    installed: Namespace, status: str, message: str
) -> None:
    leave_revision(installed, 1, status)
    shown = installed.release("status", "--json")
    found = json.loads(shown.out)
    assert (shown.code, found["revision"], found["status"]) == (0, 1, status)
    assert [one["role"] for one in found["releases"]] == ["stable"]
    refused(installed.release("abort"), 1, message)
    refused(installed.release("promote", "--dry-run"), 2, "there is no canary to promote")
    refused(installed.release("rollback", "--dry-run"), 2, "helm's history knows no stable release before")


MISTAKES = [
    ("canary {stable} --percent 20", "release .* is stable already; a canary must be another release"),
    ("canary {other} --percent 101", "--percent is 101; it must be from 0 to 100"),
    ("canary 0123456789ab --percent 20", "has no release 0123456789ab; 'wavecast store ls' lists them"),
    ("canary {other} --percent 20 --values v.yaml", "--values is where to start from for --output values or --dry-run"),
    ("canary {other} --percent 20 --values v.yaml --dry-run", "there is no file 'v.yaml'"),
    ("promote", "there is no canary to promote .*; 'wavecast release canary RELEASE --percent N' starts one"),
    ("promote {other}", "release .* is not the canary"),
    ("rollback", "helm's history knows no stable release before"),
    ("show 0123456789ab", "has no releases/0123456789ab/release.json"),
    ("canary {other}", "Missing option '--percent'"),
]


@pytest.mark.parametrize(("command", "message"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_command_that_makes_no_sense_changes_nothing(
    shared: Namespace, store: Stored, command: str, message: str
) -> None:
    arguments = command.format(stable=store[1][0].release, other=store[1][1].release).split()
    refused(shared.release(*arguments), 2, message)
    assert len(shared.revisions()) == 1


@pytest.fixture(scope="module")
def shared(server: ApiServer, store: Stored, tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    """A namespace that no test changes."""
    found = make_namespace(server, store[0], tmp_path_factory.mktemp("shared"))
    found.install(store[1][0])
    return found


def altered(store: Path, release: ReleaseManifest) -> ReleaseManifest:
    """One byte of a member is another."""
    model = store / "models" / "lstm" / release.members["lstm"] / "model.onnx"
    content = bytearray(model.read_bytes())
    content[500] ^= 1
    model.write_bytes(content)
    return release


def without_model(store: Path, release: ReleaseManifest) -> ReleaseManifest:
    """A file of a member is gone."""
    (store / "models" / "lstm" / release.members["lstm"] / "model.onnx").unlink()
    return release


def other_horizons(store: Path, release: ReleaseManifest) -> ReleaseManifest:
    """The same members under another promise: yearly figures for another calendar."""
    changed = replace(release, bars_per_year=365.0, release="")
    changed = replace(changed, release=changed.content_version())
    golden = (store / release_folder(release.release) / "golden.npz").read_bytes()
    target = Store(str(store))
    target.put_new(f"{release_folder(changed.release)}/golden.npz", golden)
    target.put_new(f"{release_folder(changed.release)}/release.json", changed.to_json())
    return changed


def wrong_golden(store: Path, release: ReleaseManifest) -> ReleaseManifest:
    """The release promises other numbers than it gives."""
    return publish_release(store, penalty_factor=5.0, release_factor=1.01)


def wrong_member(store: Path, release: ReleaseManifest) -> ReleaseManifest:
    """A member promises other numbers than it gives."""
    return publish_release(store, penalty_factor=6.0, member_shift=0.01)


UNFIT = [
    (altered, "does not verify: artifact models/lstm/.*: model.onnx was altered; .*; publish it again"),
    (without_model, "does not verify: artifact models/lstm/.*: model.onnx is missing; publish it again"),
    (wrong_golden, "is not fit to serve: .*golden replay of 'variance' differs by 0.0"),
    (wrong_member, "is not fit to serve: member lstm .*golden replay differs by 0.01"),
    (other_horizons, "is not what clients of .* rely on: bars per year 252 -> 365; .* add --allow-contract-change"),
]


@pytest.mark.parametrize(("spoil", "message"), UNFIT, ids=[spoil.__name__ for spoil, _ in UNFIT])
def test_a_release_that_is_not_fit_is_refused_with_exit_code_3(
    shared: Namespace, store: Stored, tmp_path: Path, spoil: object, message: str
) -> None:
    shutil.copytree(store[0], tmp_path / "store")
    bad = spoil(tmp_path / "store", store[1][1])  # type: ignore[operator]
    arguments = ("canary", bad.release, "--percent", "20", "--store", str(tmp_path / "store"))
    refused(shared.release(*arguments), 3, message)
    assert len(shared.revisions()) == 1
    if spoil is other_horizons:
        assert shared.release(*arguments, "--allow-contract-change", "--dry-run").code == 0


def test_a_store_that_cannot_be_reached_is_named(shared: Namespace, store: Stored) -> None:
    arguments = ("canary", store[1][1].release, "--percent", "20", "--store")
    refused(shared.release(*arguments, "none"), 2, "store 'none' does not exist")
    s3 = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    ended = shared.release(*arguments, "s3://models/wavecast", **s3, AWS_REGION="us-east-1")
    refused(ended, 1, "store 's3://models/wavecast' cannot be listed in 4 tries")
    assert len(shared.revisions()) == 1

"""`wavecast release` on a real API server with a real helm, from canary to rollback."""

from __future__ import annotations

import json
import shutil
import signal
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from cast import Cast
from command_line import wait_until
from namespaces import CHART, STORE_URI, Namespace

from optimization.rollout.carry_out import carry_out
from optimization.rollout.cluster import Cluster, ClusterError
from optimization.rollout.helm import Helm
from optimization.rollout.observe import Observer
from optimization.rollout.plan import Abort
from optimization.rollout.waits import Patience
from predictors.core.artifact import ReleaseManifest

pytestmark = pytest.mark.xdist_group("rollout")
Stored = tuple[Path, list[ReleaseManifest]]


def test_the_life_of_a_release(namespace: Namespace, cast: Cast, store: Stored) -> None:
    old, new = (one.release for one in store[1][:2])
    namespace.install(store[1][0])
    started = namespace.release("canary", new, "--percent", "20")
    assert started.code == 0, started.err
    assert started.out.startswith(f"revision: start {new}\n releases:\n   - {{name: {old}, members:")
    assert f"\n+  - {{name: {new}, members:" in started.out
    assert "-  percent: 0\n" in started.out
    assert "+  percent: 20\n" in started.out
    assert started.out.endswith(f"done: {old} 80 %, {new} 20 %\n")
    assert namespace.release("status").code == 0
    assert namespace.release("canary", new, "--percent", "50").code == 0
    promoted = namespace.release("promote").out
    assert promoted.endswith(f"   - {_entry(store[1][1])}done: {new} 100 %\n")
    assert f"revision: remove {old}\n releases:\n-  - {_entry(store[1][0])}" in promoted
    assert namespace.release("rollback").out.endswith(f"done: {old} 100 %\n")
    assert [text.split(": ", 1)[1] for text in namespace.revisions()[1:]] == [
        f"start {new}",
        f"traffic: {old} 80 %, {new} 20 %",
        f"traffic: {old} 50 %, {new} 50 %",
        f"traffic: {old} 0 %, {new} 100 %",
        f"{new} is stable",
        f"remove {old}",
        f"start {old}",
        f"traffic: {old} 100 %",
        f"remove {new}",
    ]
    wait_until(lambda: cast.seen[-1] == (frozenset({old}), frozenset({(old, 100)})), "the cluster follows")
    for (releases, shares), (releases_then, shares_then) in pairwise(cast.seen[1:]):
        assert releases == releases_then or shares == shares_then
        assert {name for name, _ in shares_then} <= releases_then


def _entry(release: ReleaseManifest) -> str:
    members = ", ".join(f"{kind}: {version}" for kind, version in sorted(release.members.items()))
    return f"{{name: {release.release}, members: {{{members}}}}}\n"


def test_an_aborted_canary_leaves_what_was_there(namespace: Namespace, cast: Cast, store: Stored) -> None:
    namespace.install(*store[1][:2], percent=100)
    before = namespace.values()
    assert namespace.release("abort").code == 0
    assert namespace.values() == before | {
        "releases": before["releases"][:1],
        "traffic": {"stable": store[1][0].release, "canary": "", "percent": 0},
    }
    again = namespace.release("abort")
    assert (again.code, again.out) == (0, f"done: {store[1][0].release} 100 %; nothing was left to do\n")


@pytest.mark.parametrize("revisions", [0, 1, 2])
def test_a_promotion_killed_after_any_revision_is_completed_by_the_same_command(
    namespace: Namespace, cast: Cast, store: Stored, revisions: int
) -> None:
    old, new = (one.release for one in store[1][:2])
    namespace.install(*store[1][:2], percent=20)
    made = len(namespace.revisions())
    promotion = namespace.begin("promote", "--settle", "1")
    wait_until(lambda: len(namespace.revisions()) >= made + revisions, "the revision is made")
    promotion.send_signal(signal.SIGKILL)
    promotion.communicate()
    _until_free(namespace)
    again = namespace.release("promote")
    assert again.code == 0, again.err
    assert namespace.values()["traffic"] == {"stable": new, "canary": "", "percent": 0}
    assert [one["name"] for one in namespace.values()["releases"]] == [new]
    assert len(namespace.revisions()) == made + 3
    assert namespace.release("promote").out == f"done: {new} 100 %; nothing was left to do\n"
    assert old not in json.dumps(namespace.values())


def test_a_rollback_cut_off_after_its_shift_is_completed_and_not_turned_round(
    namespace: Namespace, cast: Cast, store: Stored
) -> None:
    old = store[1][0].release
    namespace.install(*store[1][:2], percent=20)
    assert namespace.release("promote").code == 0
    made = len(namespace.revisions())
    cast.gateway_awake = False
    rollback = namespace.begin("rollback")
    wait_until(lambda: len(namespace.revisions()) == made + 2, "traffic is shifted")
    _until_free(namespace)
    rollback.send_signal(signal.SIGINT)
    _, told = rollback.communicate()
    assert (rollback.returncode, told.decode().splitlines()[-1][:19]) == (130, "error: interrupted;")
    cast.gateway_awake = True
    assert namespace.release("rollback").out.endswith(f"done: {old} 100 %\n")
    assert namespace.release("rollback").out == f"done: {old} 100 %; nothing was left to do\n"
    assert [one["name"] for one in namespace.values()["releases"]] == [old]


def _until_free(namespace: Namespace) -> None:
    """A killed command leaves its helm to end by itself."""

    def free() -> bool:
        history = json.loads(namespace.helm("history", "wavecast", "--output", "json"))
        return not history[-1]["status"].startswith("pending")

    wait_until(free, "helm ended")


def test_a_release_that_does_not_become_ready_gets_no_traffic_and_is_named(
    namespace: Namespace, cast: Cast, store: Stored
) -> None:
    old, new = (one.release for one in store[1][:2])
    namespace.install(store[1][0])
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    lstm = store[1][1].members["lstm"]
    cast.broken[lstm] = {"state": {"waiting": waiting}}
    failed = namespace.release("canary", new, "--percent", "20", "--timeout", "3")
    assert failed.code == 1
    why = f"lstm {lstm} is not ready: image pull: tests/image:1: no such image"
    assert f"waiting: {why}\n" in failed.err
    assert failed.err.splitlines()[-1].startswith(f"error: release {new}: waited 3 s; {why}; traffic is as it was;")
    shown = namespace.release("status")
    assert shown.code == 1
    assert f"not ready: idle {new}: lstm {lstm} (wavecast-lstm-{lstm}): image pull: tests/image:1" in shown.out
    as_json = json.loads(namespace.release("status", "--json").out)
    assert as_json["ready"] is False
    assert [(one["release"], one["role"], one["ready"]) for one in as_json["releases"]] == [
        (old, "stable", True),
        (new, "idle", False),
    ]
    assert as_json["releases"][0]["parts"][0]["uri"] == f"{STORE_URI}/models/lstm/{store[1][0].members['lstm']}/"
    assert namespace.release("abort").code == 0
    assert namespace.release("status").code == 0


def test_list_and_show_say_what_the_cluster_does_with_each_release(
    namespace: Namespace, cast: Cast, store: Stored
) -> None:
    old, new, third = (one.release for one in store[1])
    namespace.install(*store[1][:2], percent=20)
    namespace.user = "viewer"
    listed = json.loads(namespace.release("list", "--json").out)["releases"]
    assert [(one["release"], one["role"], one["share"]) for one in listed] == [
        (third, "-", 0),
        (new, "canary", 20),
        (old, "stable", 80),
    ]
    assert "canary" in namespace.release("list").out
    shown = namespace.release("show", new)
    assert "cluster          canary, 20 %, ready" in shown.out
    assert f"vs {old}  nothing that clients rely on differs" in shown.out
    assert json.loads(namespace.release("show", third, "--json").out)["running"] is None


def test_for_gitops_each_call_prints_the_values_of_the_next_revision_and_changes_nothing(
    namespace: Namespace, cast: Cast, store: Stored
) -> None:
    old, new = (one.release for one in store[1][:2])
    namespace.install(store[1][0])
    file = namespace.folder / "committed.yaml"
    file.write_text(yaml.safe_dump(namespace.values()))
    arguments = ["canary", new, "--percent", "20", "--values", "committed.yaml", "--output", "values"]
    seen = []
    for _ in range(3):
        printed = namespace.release(*arguments, HELM="no-helm-needed")
        assert printed.code == 0, printed.err
        seen.append(printed.out)
        file.write_text(printed.out)
        namespace.helm("upgrade", "wavecast", str(CHART), "--values", str(file))  # as who applies commits does
    values = [yaml.safe_load(text) for text in seen]
    assert [one["traffic"].get("canary") for one in values] == ["", new, new]
    assert [[one["name"] for one in each["releases"]] for each in values] == [[old, new]] * 3
    assert values[2] == values[1]  # nothing was left to do
    assert values[0]["store"]["uri"] == STORE_URI
    assert len(namespace.revisions()) == 4


def test_a_dry_run_shows_every_step_and_changes_nothing(namespace: Namespace, cast: Cast, store: Stored) -> None:
    old, new = (one.release for one in store[1][:2])
    namespace.install(store[1][0])
    namespace.user = "viewer"
    shown = namespace.release("canary", new, "--percent", "20", "--dry-run")
    assert shown.code == 0, shown.err
    assert [line for line in shown.out.splitlines() if line.startswith("revision: ")] == [
        f"revision: start {new}",
        f"revision: traffic: {old} 80 %, {new} 20 %",
    ]
    assert shown.err.splitlines() == [
        f"wait until release {new} and its members are ready",
        f"wait until the gateway gives {old} 80 %, {new} 20 %",
    ]
    assert len(namespace.revisions()) == 1


def test_a_revision_that_the_cluster_refused_is_made_again(namespace: Namespace, cast: Cast, store: Stored) -> None:
    new = store[1][1].release
    namespace.install(store[1][0])
    broken = namespace.folder / "chart"
    shutil.copytree(CHART, broken)
    (broken / "templates" / "refused.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_A_Name}\n"
    )
    refused = namespace.release("canary", new, "--percent", "20", WAVECAST_CHART=str(broken))
    assert refused.code == 1
    assert "error: helm upgrade: UPGRADE FAILED" in refused.err
    assert "Not_A_Name" in refused.err
    assert namespace.release("canary", new, "--percent", "20").code == 0
    assert namespace.values()["traffic"]["percent"] == 20


def test_a_revision_of_somebody_else_meanwhile_is_not_undone(namespace: Namespace, cast: Cast, store: Stored) -> None:
    namespace.install(*store[1][:2])

    def meanwhile(why: str, diff: str) -> None:
        namespace.helm("upgrade", "wavecast", str(CHART), "--reuse-values", "--set", "router.minMembers=2")

    with namespace.environment({}):
        helm, cluster = Helm("wavecast", namespace.name, None), Cluster(namespace.name, None)
        patience = Patience(30.0, 0.0, lambda why: None)
        with pytest.raises(ClusterError, match="got revision 2 .* meanwhile"):
            carry_out(helm, CHART, Observer(cluster, "wavecast"), Abort(), "abort", patience, meanwhile)
    assert namespace.values()["router"] == {"minMembers": 2}
    assert len(namespace.values()["releases"]) == 2

"""What holds for everything that the chart makes, whatever the values, and for the examples without a chart."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from chart import CANARY, CI_VALUES, EXAMPLES, MEMBERS, STABLE, TWO, Resource, examples, of, pods, render, render_file

from predictors.serving.settings import MemberSettings, RouterSettings, WaveletSettings, read_settings

SOURCES = [*CI_VALUES, EXAMPLES]
SERVERS = {"router": RouterSettings, "wavelet": WaveletSettings}


def _resources(path: Path) -> list[Resource]:
    return examples() if path == EXAMPLES else render_file(path)


def _all_pods() -> Iterator[Any]:
    for path in SOURCES:
        for name, spec in pods(_resources(path)):
            yield pytest.param(spec, id=f"{path.stem} {name}")


def _all_containers() -> Iterator[Any]:
    for path in SOURCES:
        for name, spec in pods(_resources(path)):
            for container in spec["containers"]:
                yield pytest.param(container, id=f"{path.stem} {name} {container['name']}")


PODS, CONTAINERS = list(_all_pods()), list(_all_containers())
SERVER_CONTAINERS = [one for one in CONTAINERS if not re.search(r" (job|test)$", str(one.id))]


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_is_restricted(pod: Resource) -> None:
    """As the restricted Pod Security Standard asks, and without a token of the API server."""
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (65532, 65532, 65532)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert all({"secret", "emptyDir"} & volume.keys() for volume in pod.get("volumes", []))


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_is_restricted_and_bounded(container: Resource) -> None:
    security, bounds = container["securityContext"], container["resources"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    for kind in ("requests", "limits"):
        assert bounds[kind].keys() == {"cpu", "memory"}
    registry, _, tag = container["image"].rpartition(":")
    assert re.search(r"/wavecast-(xgboost|lstm|transformer|wavelet|router|optimization)$", registry)
    assert tag not in ("", "latest")


@pytest.mark.parametrize("container", SERVER_CONTAINERS)
def test_a_server_has_probes_that_tell_the_truth_and_leaves_when_nobody_asks(container: Resource) -> None:
    """Readiness is the model's, replayed golden windows included; a server that waits for others is not restarted."""
    port = next(one["containerPort"] for one in container["ports"] if "http" in one["name"])
    kind = re.search(r"wavecast-(\w+):", container["image"])[1]  # type: ignore[index]
    model = "wavecast" if kind in SERVERS else kind
    paths = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "readiness", "liveness")}
    assert paths["readiness"] == {"path": f"/v2/models/{model}/ready", "port": port}
    assert paths["liveness"] == {"path": "/v2/health/live", "port": port}
    waits = kind in SERVERS
    assert paths["startup"] == (paths["liveness"] if waits else paths["readiness"])
    assert container["lifecycle"]["preStop"]["exec"]["command"][0] == "sleep"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_pod_has_time_to_drain_and_to_finish_its_requests(path: Path) -> None:
    for _, pod in pods(_resources(path)):
        for container in pod["containers"]:
            if "lifecycle" in container:
                environment = {one["name"]: one.get("value") for one in container["env"]}
                drain_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
                last = container["name"] == "kserve-container" and len(pod["containers"]) == 2
                finish_s = 0 if last else int(environment["WAVECAST_GRACE_S"])  # its callers have left before it
                assert drain_s + finish_s < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_servers_understand_their_settings(path: Path) -> None:
    """Each environment and command line is read by the very settings class of the process."""
    for name, pod in pods(_resources(path)):
        for container in pod["containers"]:
            kind = re.search(r"wavecast-(\w+):", container["image"])[1]  # type: ignore[index]
            if "lifecycle" not in container:
                continue
            given = {one["name"]: one["value"] for one in container["env"] if one["name"].startswith("WAVECAST_")}
            asked = [*container.get("args", [])]
            if container["name"] == "kserve-container" and "model" in pod:
                asked += pod["model"].get("args", [])
            clean = {key: value for key, value in os.environ.items() if not key.startswith("WAVECAST_")}
            with patch.dict(os.environ, {**clean, **given}, clear=True):
                settings = read_settings(SERVERS.get(kind, MemberSettings), arguments=asked)
            assert settings.host == "0.0.0.0", name  # noqa: S104 - compared, not bound
            ports = [one["containerPort"] for one in container["ports"]]
            assert ports == [settings.http_port, settings.grpc_port]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_resource_says_whose_it_is_and_storage_ends_with_a_slash(path: Path) -> None:
    """Without the slash KServe downloads every artifact whose version begins alike."""
    for one in _resources(path):
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "wavecast"
        if path != EXAMPLES:
            assert labels["app.kubernetes.io/instance"] == "wavecast"
            assert labels["app.kubernetes.io/managed-by"] == "Helm"
        if one["kind"] == "InferenceService":
            predictor = one["spec"]["predictor"]
            assert re.fullmatch(r"s3://.*/(models/\w+|releases)/[0-9a-f]{12}/", predictor["model"]["storageUri"])
            assert one["metadata"]["labels"]["networking.kserve.io/visibility"] == "cluster-local"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_what_is_referred_to_is_there(path: Path) -> None:
    """Runtimes of services, services of routes, pods of selectors, members of releases."""
    found = _resources(path)
    runtimes = {one["metadata"]["name"] for one in of("ServingRuntime", found)}
    services = {one["metadata"]["name"]: one for one in of("InferenceService", found)}
    headless = {one["metadata"]["name"] for one in of("Service", found)}
    reachable = {f"{name}-predictor" for name in services}
    reachable |= {f"{name}-transformer" for name, one in services.items() if "transformer" in one["spec"]}
    assert {one["spec"]["predictor"]["model"]["runtime"] for one in services.values()} == runtimes
    for route in of("HTTPRoute", found) + of("GRPCRoute", found):
        for rule in route["spec"]["rules"]:
            assert {backend["name"] for backend in rule["backendRefs"]} <= reachable
    for one in services.values():
        for argument in one["spec"]["predictor"]["model"].get("args", []):
            for address in argument.removeprefix("--members=").split(","):
                assert address.partition("=")[2].partition(".")[0] in headless
    components = [(one, component) for one in services.values() for component in one["spec"].values()]
    labels = [{**one["metadata"]["labels"], **component["labels"]} for one, component in components]
    for budget in of("PodDisruptionBudget", found):
        wanted = budget["spec"]["selector"]["matchLabels"]
        assert sum(wanted.items() <= has.items() for has in labels) == 1
    for one in of("Service", found):
        assert sum(one["spec"]["selector"].items() <= has.items() for has in labels) == 1
    for one, component in components:
        has = {**one["metadata"]["labels"], **component["labels"]}
        for spread in component.get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"].items() <= has.items()


@pytest.mark.parametrize("percent", [0, 1, 20, 99, 100])
def test_weights_sum_to_100_and_the_header_forces_each_release(percent: int) -> None:
    found = render(TWO, {"traffic": {"canary": CANARY, "percent": percent}})
    for route in (*of("HTTPRoute", found), *of("GRPCRoute", found)):
        port = 80 if route["kind"] == "HTTPRoute" else 8081
        *forced, split = route["spec"]["rules"]
        assert [(one["name"], one["weight"]) for one in split["backendRefs"]] == [
            (f"wavecast-{STABLE}-predictor", 100 - percent),
            (f"wavecast-{CANARY}-predictor", percent),
        ]
        assert {one["port"] for one in split["backendRefs"]} == {port}
        by_header = {
            header["value"]: rule["backendRefs"][0]["name"]
            for rule in forced
            for match in rule["matches"]
            for header in match.get("headers", [])
        }
        assert by_header == {name: f"wavecast-{name}-predictor" for name in (STABLE, CANARY)}


def test_rest_and_grpc_have_names_of_their_own() -> None:
    """An implementation of the Gateway API refuses one of two routes whose names have something in common."""
    found = render({"gateway": {"hostnames": ["a.example.com", "b.example.com"]}})
    (rest,), (grpc,) = of("HTTPRoute", found), of("GRPCRoute", found)
    assert rest["spec"]["hostnames"] == ["a.example.com", "b.example.com"]
    assert grpc["spec"]["hostnames"] == ["grpc.a.example.com", "grpc.b.example.com"]
    render({"gateway": {"hostnames": ["*.b.example.com"], "grpcHostnames": ["*.grpc.example.com"]}})


def test_jobs_are_given_seeds_of_many_digits() -> None:
    (job,) = of("CronJob", render({"retraining": {"enabled": True, "data": "s3://b/c", "seed": 20240101}}))
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "SEED", "value": "20240101"} in container["env"]


def test_a_revision_of_the_traffic_changes_routes_alone() -> None:
    """No pod restarts for it, so `helm rollback` of such a revision is safe."""
    before = render(TWO)
    after = render(TWO, {"traffic": {"canary": CANARY, "percent": 50, "mirrorPercent": 100}})
    changed = {one["kind"] for one in [*before, *after] if one not in before or one not in after}
    # The hook of `helm test` asks each release that the route reaches.
    assert changed == {"HTTPRoute", "GRPCRoute", "Job"}


def test_a_revision_of_the_releases_changes_nothing_that_is_there() -> None:
    one, two = render(), render(TWO)
    assert [resource for resource in one if resource not in two] == []


def test_a_changed_runtime_is_a_new_one_and_its_services_follow() -> None:
    """One rolling update on every version of KServe: old ones do not watch runtimes, new ones would do it twice."""
    old, new = render(), render({"members": {"lstm": {"settings": {"log_sample": 0.5}}}})
    names = [{one["metadata"]["name"] for one in of("ServingRuntime", found)} for found in (old, new)]
    (gone,), (come,) = names[0] - names[1], names[1] - names[0]
    assert gone.startswith("wavecast-lstm-")
    assert come.startswith("wavecast-lstm-")
    changed = [one["metadata"]["name"] for one in of("InferenceService", new) if one not in old]
    assert changed == [f"wavecast-lstm-{MEMBERS['lstm']}"]


def test_members_that_releases_share_run_once() -> None:
    names = [one["metadata"]["name"] for one in of("InferenceService", render(TWO))]
    assert len(names) == len(set(names)) == 2 + 3


@pytest.mark.parametrize(
    ("off", "kinds"),
    [
        ({"networkPolicy": {"enabled": False}}, {"NetworkPolicy"}),
        ({"serviceAccount": {"create": False}}, {"ServiceAccount"}),
        ({"rollout": {"create": False}}, {"Role", "RoleBinding"}),
        ({}, {"CronJob", "PodMonitor", "Secret", "RoleBinding", "CustomResourceDefinition", "ConfigMap"}),
        ({"auth": {"insecure": False, "existingSecret": "keys"}}, {"Job"}),
        ({"releases": [], "traffic": {"stable": ""}}, {"InferenceService", "HTTPRoute", "ServingRuntime", "Service"}),
    ],
)
def test_nothing_of_a_disabled_feature_is_rendered(off: Resource, kinds: set[str]) -> None:
    assert not kinds & {one["kind"] for one in render(off)}


def test_replicas_are_fixed_or_scaled_by_kserve() -> None:
    scaled = {"members": {"lstm": {"autoscaling": {"enabled": True, "maxReplicas": 5}}}}
    lstm, xgboost = (one for one in of("InferenceService", render(scaled)) if STABLE not in one["metadata"]["name"])
    assert lstm["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    assert {key: lstm["spec"]["predictor"][key] for key in ("minReplicas", "maxReplicas", "scaleMetric")} == {
        "minReplicas": 2,
        "maxReplicas": 5,
        "scaleMetric": "cpu",
    }
    assert xgboost["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "none"
    assert (xgboost["spec"]["predictor"]["minReplicas"], xgboost["spec"]["predictor"]["maxReplicas"]) == (2, 2)


def test_kserve_0_15_fixes_replicas_by_an_autoscaler_between_equal_bounds() -> None:
    for one in of("InferenceService", render({"kserve": {"deploymentMode": "RawDeployment"}})):
        assert one["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
        assert one["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
        assert one["spec"]["predictor"]["minReplicas"] == one["spec"]["predictor"]["maxReplicas"]


def test_only_the_router_reaches_members_and_only_the_gateway_and_the_test_the_release() -> None:
    policies = {one["metadata"]["name"]: one["spec"]["ingress"] for one in of("NetworkPolicy", render())}
    callers = {
        name: [
            part.get("podSelector", part.get("namespaceSelector"))["matchLabels"].get("wavecast.dev/role", "namespace")
            for rule in rules
            for part in rule["from"]
        ]
        for name, rules in policies.items()
    }
    assert callers == {
        "wavecast-member": ["release", "namespace"],
        "wavecast-release": ["namespace", "test", "namespace"],
    }


def test_the_rollout_role_grants_what_the_command_asks_for() -> None:
    """And nothing to the pods: no binding is made unless subjects are named."""
    subjects = [{"kind": "Group", "name": "quants", "apiGroup": "rbac.authorization.k8s.io"}]
    found = render({"rollout": {"subjects": subjects}, "monitoring": {"podMonitor": {"enabled": True}}})
    (role,), (binding,) = of("Role", found), of("RoleBinding", found)
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == subjects
    granted = {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    for one in found:
        group = one["apiVersion"].rpartition("/")[0]
        plural = one["kind"].lower().replace("policy", "policie") + "s"
        if "helm.sh/hook" not in one["metadata"].get("annotations", {}):
            assert {"get", "patch"} <= granted[group, plural], plural
    assert not any("*" in verbs for verbs in granted.values())

"""Why something is not ready, from what Kubernetes, KServe and our servers say: one cause, one line."""

from __future__ import annotations

from typing import Any

import pytest

from optimization.rollout.diagnosis import diagnose
from optimization.rollout.services import read_services, rolled_out

LSTM = "1f579717bf34"
Json = dict[str, Any]


def service(**status: Any) -> Json:
    """The InferenceService of a member."""
    model = {"storageUri": f"s3://models/wavecast/models/lstm/{LSTM}/"}
    return {"metadata": {"name": "wavecast-lstm"}, "spec": {"predictor": {"model": model}}, "status": status}


def pod(name: str = "kserve-container", created: str = "2026-01-01T00:00:00Z", **container: Any) -> Json:
    """A pod with one container that is not ready."""
    kind = "initContainerStatuses" if name == "storage-initializer" else "containerStatuses"
    status = {"name": name, "image": "wavecast-lstm:1", "ready": False, **container}
    return {"metadata": {"name": f"pod-{created}", "creationTimestamp": created}, "status": {kind: [status]}}


def ended(code: int = 1, **more: Any) -> Json:
    """The state of a container that ended and waits to be started again."""
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    return {"state": waiting, "lastState": {"terminated": {"exitCode": code, **more}}}


def diagnosis(resource: Json, pods: list[Json], log: str = "", previous: str = "") -> str:
    """As `wavecast release status` prints it."""
    (found,) = read_services([resource])
    return str(diagnose(found, pods, lambda _pod, _container, before: (previous if before else log).splitlines()))


LOGS = [
    ("error: lstm 1f579717bf34: golden replay differs by 0.01, more than 1e-05; it is not served", "golden mismatch"),
    ("error: release b0289c285c0a: golden replay of 'variance' differs by 0.01, more than 1e-05", "golden mismatch"),
    (
        "error: artifact models: model.onnx was altered; its sha256 begins 00, not 11",
        "corrupted artifact",
    ),
    ("error: artifact models: manifest.json: not JSON; it is half-written or altered", "corrupted artifact"),
    ("error: model.onnx is not a model that ONNX Runtime can load", "corrupted artifact"),
    ("error: artifact models: model.onnx is missing", "missing object"),
    ("error: store '/mnt/models' has no manifest.json", "missing object"),
    ("error: setting 'members' = 'x': no", "crash loop"),
    ("Traceback (most recent call last):\n  File x\nValueError: no", "crash loop"),
]


@pytest.mark.parametrize(("line", "cause"), LOGS)
def test_a_server_that_refuses_says_why_in_its_last_error(line: str, cause: str) -> None:
    found = diagnosis(service(), [pod(**ended())], log=f'{{"event": "started"}}\n{line}\n')
    assert found == f"{cause}: {line.splitlines()[-1].removeprefix('error: ')}"
    assert diagnosis(service(), [pod(**ended())], log="", previous=line).startswith(f"{cause}: ")


@pytest.mark.parametrize("state", [ended(0), ended(0) | {"state": {"running": {}}}])
def test_a_server_that_ends_well_again_and_again_is_told_so(state: Json) -> None:
    assert diagnosis(service(), [pod(**state, restartCount=3)]) == (
        "crash loop: kserve-container was started again 3 times"
    )
    assert not diagnosis(service(), [pod(**state, restartCount=1)]).startswith("crash loop")


INITIALIZER = [
    (
        "botocore.exceptions.ClientError: An error occurred (403) when calling the HeadObject operation: Forbidden",
        "wrong credentials",
    ),
    ("botocore.exceptions.NoCredentialsError: Unable to locate credentials", "wrong credentials"),
    ("RuntimeError: Failed to fetch model. No model found in s3://models/wavecast/models/lstm/x/.", "missing object"),
    ("botocore.errorfactory.NoSuchBucket: An error occurred (NoSuchBucket)", "missing object"),
    ('botocore.exceptions.EndpointConnectionError: Could not connect to "http://s3/"', "storage initializer"),
]


@pytest.mark.parametrize(("line", "cause"), INITIALIZER)
def test_the_storage_initializer_is_understood(line: str, cause: str) -> None:
    log = f"INFO: copying\nTraceback (most recent call last):\n  File\n{line}\n"
    assert diagnosis(service(), [pod("storage-initializer", **ended())], log=log) == f"{cause}: {line}"


def test_what_a_running_server_waits_for_is_told() -> None:
    running = {"state": {"running": {}}}
    spec = (
        "release b0289c285c0a: golden window 0: 0 of 1 members answered, 1 needed (lstm: parameter 'spec' is 'aaaa'; "
        "model 'lstm' reads features of spec 'bbbb')"
    )
    for reason, cause in ((spec, "wrong spec hash"), ("golden window 0 has only lstm:1", "waiting")):
        log = f'{{"event": "waiting for members", "reason": "{reason}"}}\nnot json\n'
        assert diagnosis(service(), [pod(**running)], log=log).startswith(f"{cause}: ")
    assert diagnosis(service(), [pod(**running)], log="") == "starting: its pods start"


def test_kubernetes_own_reasons_are_told() -> None:
    pull = {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
    assert diagnosis(service(), [pod(**pull)]) == "image pull: wavecast-lstm:1: not found"
    config = {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "s3" not found'}}}
    assert 'kserve-container: CreateContainerConfigError: secret "s3" not found' in diagnosis(
        service(), [pod(**config)]
    )
    memory = ended(137, reason="OOMKilled")
    assert diagnosis(service(), [pod(**memory)]).startswith("out of memory: kserve-container of pod pod-")
    scheduled = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}
    pending = {"metadata": {"name": "p", "creationTimestamp": "x"}, "status": {"conditions": [scheduled]}}
    assert diagnosis(service(), [pending]) == "pending: 0/1 nodes are available: 1 Insufficient cpu."


def test_the_newest_pod_speaks_and_one_that_leaves_does_not() -> None:
    pull = {"state": {"waiting": {"reason": "ErrImagePull", "message": "new"}}}
    leaving = pod(created="2026-01-03T00:00:00Z", **ended())
    leaving["metadata"]["deletionTimestamp"] = "now"
    pods = [pod(created="2026-01-01T00:00:00Z", **ended()), pod(created="2026-01-02T00:00:00Z", **pull), leaving]
    assert diagnosis(service(), pods) == "image pull: wavecast-lstm:1: new"


def test_without_pods_the_conditions_speak() -> None:
    failure = {"lastFailureInfo": {"reason": "NoSupportingRuntime", "message": "no runtime found"}}
    assert diagnosis(service(modelStatus=failure), []) == "NoSupportingRuntime: no runtime found"
    false = {"type": "PredictorReady", "status": "False", "reason": "Quota", "message": "exceeded quota"}
    assert diagnosis(service(conditions=[{"type": "Ready", "status": "False"}, false]), []) == "Quota: exceeded quota"
    assert diagnosis(service(), []) == "starting: it has no pods yet"


def test_what_is_being_removed_is_not_ready_whatever_it_says() -> None:
    resource = service(conditions=[{"type": "Ready", "status": "True"}])
    (found,) = read_services([resource])
    assert found.says_ready
    assert found.artifact == f"lstm {LSTM}"
    resource["metadata"]["deletionTimestamp"] = "now"
    assert not found.says_ready
    assert diagnosis(resource, []) == "leaving: it is being removed"


def test_a_deployment_counts_only_in_its_latest_form_on_all_replicas() -> None:
    def deployment(observed: int, updated: int, available: int, replicas: int = 2, all_of_them: int = 2) -> Json:
        status = {"observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available}
        status["replicas"] = all_of_them
        return {"metadata": {"generation": 3}, "spec": {"replicas": replicas}, "status": status}

    assert rolled_out([deployment(3, 2, 2)])
    assert not rolled_out([deployment(2, 2, 2)])
    assert not rolled_out([deployment(3, 1, 2)])
    assert not rolled_out([deployment(3, 2, 1)])
    assert not rolled_out([deployment(3, 2, 2, all_of_them=3)])  # the old pod is the one that answers
    assert not rolled_out([deployment(3, 0, 0, replicas=0)])
    assert not rolled_out([])

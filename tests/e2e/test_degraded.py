"""A member that is gone or crashes stops no answer: they go on without it, and say so. Limits hold under load."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
from chart import Chart
from cluster import Object, until
from load import Load
from numpy.typing import NDArray

AWAY_S = 10.0
CHANGE_S = 90.0
DOCUMENTED_LOAD_S = 30.0


Trouble = Callable[[Chart, str], AbstractContextManager[None]]
"""What happens to a member of a chart for a while."""


def service_of(chart: Chart, kind: str) -> str:
    """The InferenceService of a member of the first release."""
    return f"wavecast-{kind}-{chart.first.members[kind]}"


def members(chart: Chart, bars: NDArray[np.float64]) -> set[str]:
    """Members behind one answer, which says so when some are missing."""
    parameters = chart.infer(bars).json()["parameters"]
    kinds = {part.partition(":")[0] for part in parameters["members"].split(",")}
    assert parameters["degraded"] is (kinds != chart.first.members.keys())
    return kinds


@contextmanager
def scaled_to_nothing(chart: Chart, kind: str) -> Iterator[None]:
    """No pod of the member for a while: somebody scaled it with kubectl, and helm takes the number back."""
    patch = {"spec": {"predictor": {"minReplicas": 0}}}
    chart.cluster.kubectl(
        "patch", f"inferenceservice/{service_of(chart, kind)}", "--type=merge", "-p", json.dumps(patch)
    )
    try:
        yield
    finally:
        chart.upgrade("--force-conflicts")


@contextmanager
def crash_looping(chart: Chart, kind: str) -> Iterator[None]:
    """Every process of the member is told to end as soon as it runs, so that the kubelet waits longer each time."""
    stop = threading.Event()
    end = ("--", "python3", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")

    def crash() -> None:
        while not stop.wait(0.2):
            for pod in chart.cluster.pods(service_of(chart, kind)):
                chart.cluster.kubectl("exec", pod["metadata"]["name"], "-c", "kserve-container", *end, check=False)

    thread = threading.Thread(target=crash)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def absent(chart: Chart, kind: str) -> bool:
    """Whether the member has no pod."""
    return not chart.cluster.pods(service_of(chart, kind))


def crashed_twice(chart: Chart, kind: str) -> bool:
    """Whether each pod of the member is in its third life at least, which the kubelet lets it wait for."""
    return all(restarts(pod) >= 2 for pod in chart.cluster.pods(service_of(chart, kind)))


TROUBLES = [(scaled_to_nothing, absent, "lstm"), (crash_looping, crashed_twice, "xgboost")]


@pytest.mark.parametrize(("trouble", "in_trouble", "kind"), TROUBLES, ids=["scaled to nothing", "crash-looping"])
def test_without_a_member_answers_go_on_and_say_so(
    settled: Chart, bars: NDArray[np.float64], trouble: Trouble, in_trouble: Callable[[Chart, str], bool], kind: str
) -> None:
    chart, whole = settled, set(settled.first.members)
    with Load(chart, bars) as load:
        with trouble(chart, kind):
            until(f"{kind} is in trouble", lambda: in_trouble(chart, kind), CHANGE_S)
            until(f"answers without {kind}", lambda: members(chart, bars) == whole - {kind}, CHANGE_S)
            began = time.monotonic()
            time.sleep(AWAY_S)
            away = load.since(began)
            problems = chart.cluster.release_status()["problems"]
        until(f"{kind} takes part again", lambda: members(chart, bars) == whole, CHANGE_S)
    print(load.summary(), *problems, sep="\n")
    assert not load.failures
    assert 2 * sum(one.degraded for one in away) > len(away)
    assert any(f": {kind} {chart.first.members[kind]} " in line for line in problems)


def restarts(pod: Object) -> int:
    """How often containers of a pod were started again."""
    return sum(one["restartCount"] for one in pod["status"]["containerStatuses"])


def test_under_the_documented_load_requests_and_limits_hold(settled: Chart, bars: NDArray[np.float64]) -> None:
    cluster = settled.cluster
    before = {pod["metadata"]["name"]: restarts(pod) for pod in cluster.pods()}
    with Load(settled, bars) as load:
        time.sleep(DOCUMENTED_LOAD_S)
        pods = cluster.pods()
        containers = [(pod["metadata"]["name"], one) for pod in pods for one in pod["spec"]["containers"]]
        for pod, one in containers:
            most, limit = memory(settled, pod, one["name"])
            print(f"{pod} {one['name']}: at most {most / 2**20:.0f} of {limit / 2**20:.0f} MiB")
            assert limit == int(one["resources"]["limits"]["memory"].removesuffix("Mi")) * 2**20
            assert one["resources"]["requests"].keys() >= {"cpu", "memory"}
    print(load.summary())
    assert not load.failures
    assert not any(one.degraded for one in load.outcomes)
    assert {pod["metadata"]["name"]: restarts(pod) for pod in pods} == before


def memory(chart: Chart, pod: str, container: str) -> tuple[int, int]:
    """Most memory that a container had so far, files that it read included, and what its cgroup lets it have."""
    second = "cd /sys/fs/cgroup; cat memory.peak memory.max 2> /dev/null"
    first = "cat memory/memory.max_usage_in_bytes memory/memory.limit_in_bytes"
    read = chart.cluster.kubectl("exec", pod, "-c", container, "--", "sh", "-c", f"{second} || {first}")
    most, limit = map(int, read.split())
    return most, limit

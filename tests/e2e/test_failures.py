"""A bad release never becomes ready, the old one answers every request, and status says why in one line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from chart import NAME, Chart, Release
from cluster import Object, until
from load import Load
from numpy.typing import NDArray
from servers import ObjectStore
from spoiled import corrupted, of_other_answers, of_other_features, spoil_golden, spoil_members, without_model

SAID_WITHIN_S = 120.0
KINDS = ("lstm", "transformer", "xgboost")
OF_THE_RELEASE = " of the release"
CASES = (
    "corrupted artifact",
    "missing object",
    "golden mismatch",
    "wrong spec hash",
    f"golden mismatch{OF_THE_RELEASE}",
)


@dataclass(frozen=True)
class Failing:
    """Bad releases that run beside the good one, under load."""

    chart: Chart
    load: Load
    bad: dict[str, str]
    """Artifact that is bad, as status names it, by case."""
    status: Object
    text: str
    """`wavecast release status` for people."""


@pytest.fixture(scope="module")
def failing(chart: Chart, store: ObjectStore, state: Path, bars: NDArray[np.float64]) -> Iterator[Failing]:
    """All cases at once: three releases, of which one has three bad members, one a member of other features."""
    chart.settle()
    several = spoil_members(
        store, chart.first, {"lstm": corrupted, "transformer": without_model, "xgboost": of_other_answers}
    )
    mixed = spoil_members(store, chart.first, {"xgboost": of_other_features})
    unkept = spoil_golden(store, chart.first)
    artifacts = [f"{kind} {several.members[kind]}" for kind in KINDS]
    bad = dict(zip(CASES, [*artifacts, f"release {mixed.name}", f"release {unkept.name}"], strict=True))
    run_beside(chart, state, several, mixed, unkept)
    with Load(chart, bars, rest_per_s=20, grpc_per_s=5) as load:
        until("every cause is told", lambda: told(chart, bad), SAID_WITHIN_S, every_s=2)
        status = chart.cluster.release_status()
        text = chart.cluster.wavecast("release", "status", check=False)
        yield Failing(chart, load, bad, status, text)
    chart.settle()
    chart.cluster.helm("upgrade", NAME, "helm/wavecast", "--reset-values", "--values", str(chart.values))
    chart.settle()


def run_beside(chart: Chart, state: Path, *releases: Release) -> None:
    """Run releases without traffic, one pod of each thing: nodes are small."""
    chart.upgrade("--set", ",".join(f"{part}.replicas=1" for part in ("router", *(f"members.{k}" for k in KINDS))))
    values = state / "failing.json"
    values.write_text(json.dumps({"releases": [one.values for one in (chart.first, *releases)]}))
    chart.upgrade("--values", str(values))


def told(chart: Chart, bad: dict[str, str]) -> bool:
    """Whether status names the cause of each case."""
    problems = chart.cluster.release_status()["problems"]
    print(*problems, sep="\n")
    return all(
        any(f": {artifact} " in line and f": {cause(case)}: " in line for line in problems)
        for case, artifact in bad.items()
    )


def cause(case: str) -> str:
    """The cause that status names."""
    return case.removesuffix(OF_THE_RELEASE)


@pytest.mark.parametrize("case", CASES)
def test_status_says_why_in_one_line(failing: Failing, case: str) -> None:
    about = [line for line in failing.text.splitlines() if f": {failing.bad[case]} (" in line]
    print(*about)
    assert len(about) == 1
    assert about[0].startswith("not ready: idle ")
    assert f": {cause(case)}: " in about[0]


@pytest.mark.parametrize("case", CASES)
def test_its_inference_service_is_not_ready(failing: Failing, case: str) -> None:
    kind, version = failing.bad[case].split()
    service = f"{NAME}-{version}" if kind == "release" else f"{NAME}-{kind}-{version}"
    assert not failing.chart.cluster.ready(service)


def test_the_old_release_answers_every_request(failing: Failing) -> None:
    print(failing.load.summary())
    assert len(failing.load.outcomes) > 500
    assert not failing.load.failures
    assert {(one.release, one.degraded) for one in failing.load.outcomes} == {(failing.chart.first.name, False)}


def test_with_wrong_credentials_a_canary_gets_nothing_until_the_secret_is_mended(
    failing: Failing, store: ObjectStore, releases: tuple[Release, Release], bars: NDArray[np.float64]
) -> None:
    chart, good = failing.chart, releases[1]
    cluster, began = chart.cluster, len(failing.load.outcomes)
    give = ("release", "canary", good.name, "--percent", "20")
    set_keys(chart, store, "wrong")
    try:
        stopped = subprocess.run(
            ["wavecast", *give, "--timeout", "40"], env=cluster.environment, capture_output=True, text=True, check=False
        )
        print(stopped.stderr)
        assert stopped.returncode == 1
        last = stopped.stderr.splitlines()[-1]
        assert last.startswith("error: ")
        assert ": wrong credentials: " in last
    finally:
        set_keys(chart, store, store.secret)
    assert chart.cluster.release_status()["ready"] is False
    assert {one.release for one in failing.load.outcomes[began:]} == {chart.first.name}
    cluster.wavecast(*give)
    assert chart.infer(bars, **{"x-wavecast-release": good.name}).json()["parameters"]["release"] == good.name
    assert not failing.load.failures, failing.load.summary()


def set_keys(chart: Chart, store: ObjectStore, value: str) -> None:
    """Give the Secret of the store another secret key."""
    chart.cluster.kubectl(
        "patch", "secret", "models-s3", "-p", json.dumps({"stringData": {"AWS_SECRET_ACCESS_KEY": value}})
    )

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
from cluster import until
from load import Load
from numpy.typing import NDArray
from servers import ObjectStore
from spoiled import corrupted, of_other_answers, of_other_features, spoil_golden, spoil_members, without_model

SAID_WITHIN_S = 120.0
CASES = {
    "corrupted artifact": "corrupted artifact",
    "missing object": "missing object",
    "golden mismatch of a member": "golden mismatch",
    "golden mismatch of the release": "golden mismatch",
    "wrong spec hash": "wrong spec hash",
}
"""What status says, by case."""


@dataclass(frozen=True)
class Failing:
    """Bad releases that run beside the good one, under load.

    Attributes
    ----------
    bad
        By case: the artifact that is bad, as status names it.
    text
        `wavecast release status` for people.
    """

    chart: Chart
    load: Load
    bad: dict[str, str]
    text: str


@pytest.fixture(scope="module")
def failing(chart: Chart, store: ObjectStore, state: Path, bars: NDArray[np.float64]) -> Iterator[Failing]:
    """All cases at once: a release of three bad members, one with a member of other features, one with a bad golden."""
    chart.settle()
    how = {"lstm": corrupted, "transformer": without_model, "xgboost": of_other_answers}
    several = spoil_members(store, chart.first, how)
    mixed = spoil_members(store, chart.first, {"xgboost": of_other_features})
    unkept = spoil_golden(store, chart.first)
    bad = {
        "corrupted artifact": f"lstm {several.members['lstm']}",
        "missing object": f"transformer {several.members['transformer']}",
        "golden mismatch of a member": f"xgboost {several.members['xgboost']}",
        "golden mismatch of the release": f"release {unkept.name}",
        "wrong spec hash": f"release {mixed.name}",
    }
    with Load(chart, bars, rest_per_s=20, grpc_per_s=5) as load:
        run_beside(chart, state, several, mixed, unkept)
        until("every cause is told", lambda: told(chart, bad), SAID_WITHIN_S, every_s=2)
        yield Failing(chart, load, bad, chart.cluster.wavecast("release", "status", check=False))
    chart.settle()
    chart.cluster.helm("upgrade", NAME, "helm/wavecast", "--reset-values", "--values", str(chart.values))
    chart.settle()


def run_beside(chart: Chart, state: Path, *releases: Release) -> None:
    """Run releases without traffic, one pod of each thing: nodes are small."""
    parts = ("router", *(f"members.{kind}" for kind in chart.first.members))
    chart.upgrade("--set", ",".join(f"{part}.replicas=1" for part in parts))
    values = state / "failing.json"
    values.write_text(json.dumps({"releases": [one.values for one in (chart.first, *releases)]}))
    chart.upgrade("--values", str(values))


def told(chart: Chart, bad: dict[str, str]) -> bool:
    """Whether status names the cause of each case."""
    problems = chart.cluster.release_status()["problems"]
    return all(
        any(f": {bad[case]} (" in one and f": {cause}: " in one for one in problems) for case, cause in CASES.items()
    )


@pytest.mark.parametrize("case", CASES)
def test_status_says_why_in_one_line(failing: Failing, case: str) -> None:
    about = [line for line in failing.text.splitlines() if f": {failing.bad[case]} (" in line]
    print(*about, sep="\n")
    assert len(about) == 1
    assert about[0].startswith("not ready: idle ")
    assert f": {CASES[case]}: " in about[0]


@pytest.mark.parametrize("case", CASES)
def test_its_inference_service_is_not_ready(failing: Failing, case: str) -> None:
    name = failing.bad[case].removeprefix("release ").replace(" ", "-")
    assert not failing.chart.cluster.ready(f"{NAME}-{name}")


def test_the_old_release_answers_every_request(failing: Failing) -> None:
    print(failing.load.summary())
    assert len(failing.load.outcomes) > 500
    assert not failing.load.failures
    assert {(one.release, one.degraded) for one in failing.load.outcomes} == {(failing.chart.first.name, False)}


def test_with_wrong_credentials_a_canary_gets_nothing_until_the_secret_is_mended(
    failing: Failing, store: ObjectStore, releases: tuple[Release, Release], bars: NDArray[np.float64]
) -> None:
    chart, load, good = failing.chart, failing.load, releases[1].name
    command, before = ("wavecast", "release", "canary", good, "--percent", "20"), len(load.outcomes)
    set_key(chart, "wrong")
    try:
        refused = subprocess.run(
            [*command, "--timeout", "30"], env=chart.cluster.environment, capture_output=True, text=True, check=False
        )
    finally:
        set_key(chart, store.secret)
    print(refused.stderr)
    assert refused.returncode == 1
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert ": wrong credentials: " in last
    assert {one.release for one in load.outcomes[before:]} == {chart.first.name}
    chart.cluster.run(*command)
    assert chart.infer(bars, **{"x-wavecast-release": good}).json()["parameters"]["release"] == good
    assert not load.failures, load.summary()


def set_key(chart: Chart, value: str) -> None:
    """Give the Secret of the store another secret key."""
    patch = {"stringData": {"AWS_SECRET_ACCESS_KEY": value}}
    chart.cluster.kubectl("patch", "secret", "models-s3", "-p", json.dumps(patch))

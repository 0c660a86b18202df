"""The jobs make releases: two pods tune on one PostgreSQL; what the nightly training made becomes a canary."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import obstore
import optuna
import pytest
from chart import NAME, Chart
from cluster import until
from database import postgresql
from load import Load
from numpy.typing import NDArray
from optuna.trial import TrialState
from servers import BUCKET, ObjectStore

from optimization.data.bars import BarSeries, bar_table
from optimization.data.demo import demo_bars
from optimization.data.write import write_bars
from optimization.tune.storage import open_storage
from optimization.tune.study import WORKER
from predictors.core.artifact import MemberManifest
from predictors.store import Store, member_folder
from predictors.store.artifacts import read_member_manifest, read_release_manifest

WORKERS, TRIALS = 2, 12
BARS = 1200  # that a study can be cut into folds
STUDY = "wavecast-xgboost"
WITHIN_S = 400.0
NEVER = "0 0 31 2 *"  # no February has that day
RESOURCES = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
NIGHTLY = "nightly-by-hand"


@dataclass(frozen=True)
class Jobs:
    """Both jobs at work."""

    chart: Chart
    database: str
    """URL of the studies."""

    def made_by(self, job: str) -> str:
        """Wait for a job's good end and return the release that it published."""
        cluster = self.chart.cluster

        def conditions() -> set[str]:
            found = cluster.get(f"job/{job}").get("status", {}).get("conditions", [])
            return {one["type"] for one in found if one["status"] == "True"}

        until(f"job {job} ends", lambda: conditions() & {"Complete", "Failed"}, WITHIN_S, every_s=2)
        log = cluster.kubectl("logs", "-l", f"job-name={job}", "--tail=-1", "--prefix")
        print(log)
        assert "Complete" in conditions()
        (release,) = re.findall(r"published release (\w{12}) ", log)
        return str(release)


@pytest.fixture(scope="module")
def jobs(chart: Chart, store: ObjectStore, state: Path) -> Iterator[Jobs]:
    """Both at once, as small as they can be and still be real; the nightly one is started by hand."""
    chart.settle()
    cluster, values, file = chart.cluster, state / "jobs.json", state / "jobs.csv"
    series = demo_bars("nasdaq").series[0]
    write_bars(bar_table([BarSeries("", series.timestamps[:BARS], series.bars[:BARS], None)], "bars"), str(file))
    obstore.put(store.bucket, "bars.csv", file.read_bytes())
    common = {"enabled": True, "data": f"s3://{BUCKET}/bars.csv", "resources": RESOURCES}
    tuning = {"storageSecret": "studies", "workers": WORKERS, "trials": TRIALS, "budget": "2m", "seed": 11}
    values.write_text(json.dumps({"tuning": common | tuning, "retraining": common | {"schedule": NEVER, "seed": 12}}))
    with postgresql(cluster.host_address, state / "postgres") as url:
        studies = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "studies"}, "stringData": {"url": url}}
        cluster.apply(studies)
        chart.upgrade("--values", str(values))
        cluster.kubectl("create", "job", NIGHTLY, f"--from=cronjob/{NAME}-retraining")
        yield Jobs(chart, url)
        chart.settle()
        cluster.helm("upgrade", NAME, "helm/wavecast", "--reset-values", "--values", str(chart.values))
        cluster.kubectl("delete", "secret/studies", f"job/{NIGHTLY}", "--ignore-not-found")


def test_two_pods_share_a_study_and_publish_what_passed_the_gates(jobs: Jobs, store: ObjectStore, state: Path) -> None:
    listed = jobs.chart.cluster.get("jobs")["items"]
    (job,) = (one["metadata"]["name"] for one in listed if "-tuning-" in one["metadata"]["name"])
    members = members_of(store, jobs.made_by(job))
    with open_storage(jobs.database, state, heartbeat_s=60) as storage:
        trials = optuna.load_study(study_name=STUDY, storage=storage).trials
    completed = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert len(completed) >= TRIALS
    assert {trial.user_attrs[WORKER].partition("@")[0] for trial in completed} == {str(n) for n in range(WORKERS)}
    assert members["xgboost"].study is not None
    assert members["xgboost"].study.study == STUDY
    assert_gated(members)


def test_what_the_nightly_training_made_can_be_a_canary(
    jobs: Jobs, store: ObjectStore, bars: NDArray[np.float64]
) -> None:
    chart, made = jobs.chart, jobs.made_by(NIGHTLY)
    assert_gated(members_of(store, made))
    with Load(chart, bars) as load:
        chart.cluster.wavecast("release", "canary", made, "--percent", "20")
        forced = chart.infer(bars, **{"x-wavecast-release": made}).json()["parameters"]
        until("the canary answers its share", lambda: made in {one.release for one in load.outcomes}, 10)
    print(load.summary())
    assert (forced["release"], forced["degraded"]) == (made, False)
    assert not load.failures


def members_of(store: ObjectStore, release: str) -> dict[str, MemberManifest]:
    """The manifests of a release's members."""
    objects = Store(store.uri)
    versions = read_release_manifest(objects, release).members
    return {kind: read_member_manifest(objects, member_folder(kind, one)) for kind, one in versions.items()}


def assert_gated(members: dict[str, MemberManifest]) -> None:
    """The members were put to gates, and what they are now passed."""
    gates = [gate for member in members.values() for gate in member.gates]
    assert gates
    assert all(gate.passed for gate in gates)

"""The jobs make releases: two pods tune on one PostgreSQL; what the nightly training made becomes a canary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import optuna
import pytest
from chart import NAME, Chart
from cluster import Object, until
from database import postgresql
from load import Load
from numpy.typing import NDArray
from optuna.trial import TrialState
from servers import BUCKET, ObjectStore

from optimization.tune.study import WORKER
from predictors.store import Store, member_folder
from predictors.store.artifacts import read_member_manifest, read_release_manifest

WORKERS, TRIALS = 2, 12
STUDY = "wavecast-xgboost"
WITHIN_S = 400.0
NEVER = "0 0 31 2 *"
RESOURCES = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}}


@dataclass(frozen=True)
class Jobs:
    """The chart with both jobs."""

    chart: Chart
    store: ObjectStore
    database: str
    """URL of the studies."""

    def releases(self) -> dict[str, Any]:
        """What the store holds."""
        listed = self.chart.cluster.wavecast("store", "ls", "--store", self.store.uri, "--json")
        return {one["release"]: one for one in json.loads(listed)["releases"]}

    def finish(self, job: str) -> str:
        """Wait for a job's end and return what its pods wrote."""
        cluster = self.chart.cluster

        def ended() -> bool:
            conditions = cluster.get(f"job/{job}").get("status", {}).get("conditions", [])
            return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)

        until(f"job {job} ends", ended, WITHIN_S, every_s=2)
        log = cluster.kubectl("logs", "-l", f"job-name={job}", "--tail=-1", "--prefix")
        status: Object = cluster.get(f"job/{job}")["status"]
        assert not status.get("failed"), log
        return log


@pytest.fixture(scope="module")
def jobs(chart: Chart, store: ObjectStore, state: Path, bars_file: Path) -> Iterator[Jobs]:
    """Both jobs, as small as they can be and still be real; the nightly one waits to be started by hand."""
    chart.settle()
    cluster = chart.cluster
    obstore.put(store.bucket, "bars.csv", bars_file.read_bytes())
    with postgresql(cluster.host_address, state / "postgres") as url:
        cluster.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "studies"}, "stringData": {"url": url}}
        )
        common = {"enabled": True, "data": f"s3://{BUCKET}/bars.csv", "resources": RESOURCES}
        tuning = {"storageSecret": "studies", "workers": WORKERS, "trials": TRIALS, "budget": "2m", "seed": 11}
        values = state / "jobs.json"
        nightly = {"schedule": NEVER, "seed": 12}
        values.write_text(json.dumps({"tuning": common | tuning, "retraining": common | nightly}))
        chart.upgrade("--values", str(values))
        yield Jobs(chart, store, url)
        chart.settle()
        cluster.helm("upgrade", NAME, "helm/wavecast", "--reset-values", "--values", str(chart.values))
        chart.settle()


def test_two_pods_complete_one_study_and_publish_a_release_that_passed_the_gates(jobs: Jobs) -> None:
    before = jobs.releases()
    (job,) = (
        one["metadata"]["name"]
        for one in jobs.chart.cluster.get("jobs")["items"]
        if "-tuning-" in one["metadata"]["name"]
    )
    log = jobs.finish(job)
    print(log[-3000:])
    assert jobs.chart.cluster.get(f"job/{job}")["status"]["succeeded"] == WORKERS
    storage = jobs.database.replace("postgresql:", "postgresql+psycopg:")
    study = optuna.load_study(study_name=STUDY, storage=storage)
    completed = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    assert len(completed) >= TRIALS
    assert {trial.user_attrs[WORKER].partition("@")[0] for trial in completed} == {"0", "1"}
    (made,) = jobs.releases().keys() - before.keys()
    assert_gated(jobs.store, made)


def assert_gated(store: ObjectStore, release: str) -> None:
    """The members passed the gates of compression, and the tuned one has the study's settings."""
    objects = Store(store.uri)
    members = {
        kind: read_member_manifest(objects, member_folder(kind, version))
        for kind, version in read_release_manifest(objects, release).members.items()
    }
    gates = [gate for member in members.values() for gate in member.gates]
    print(*gates, sep="\n")
    assert gates
    assert all(gate.passed for gate in gates)
    assert members["xgboost"].study is not None
    assert members["xgboost"].study.study == STUDY


def test_the_release_of_the_nightly_training_can_be_a_canary(jobs: Jobs, bars: NDArray[np.float64]) -> None:
    chart, before = jobs.chart, jobs.releases()
    chart.cluster.kubectl("create", "job", "by-hand", f"--from=cronjob/{NAME}-retraining")
    log = jobs.finish("by-hand")
    print(log[-3000:])
    (made,) = jobs.releases().keys() - before.keys()
    with Load(chart, bars) as load:
        chart.cluster.wavecast("release", "canary", made, "--percent", "20")
        answer = chart.infer(bars, **{"x-wavecast-release": made})
        until("the canary answers its share", lambda: made in {one.release for one in load.outcomes}, 10)
    print(load.summary())
    assert answer.json()["parameters"].items() >= {"release": made, "degraded": False}.items()
    assert not load.failures

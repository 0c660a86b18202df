"""`wavecast tune` as processes: what it writes, what kill -9 costs, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from optimization.data import write_bars
from optimization.data.bars import BarTable
from optimization.parallel import progress_bar
from optimization.train.members import learner_from
from optimization.train.recipe import read_recipe
from optimization.tune.folds import before, timeline
from optimization.tune.run import Tuned, tune
from optimization.tune.settings import TuneSettings
from optimization.tune.storage import making, open_storage
from optimization.tune.study import RECIPE, WORKER
from optimization.tune.worker import INDEX
from predictors.cli import main
from predictors.core.errors import DataError, InvalidInput, WavecastError
from predictors.wavelet.spec import FeatureSpec

pytestmark = pytest.mark.xdist_group("tune")

PATIENCE_S = 120.0
SLOW = "import time, optimization.tune.folds as f; s = f.Fold.score; f.Fold.score = lambda *a: time.sleep(1.0) or s(*a)"
"""Makes a trial long enough to be killed in; runs in every process that finds it on its path."""
NAN = "import optimization.tune.folds as f; r = f.Fold.forecast; f.Fold.forecast = lambda *a: r(*a) * float('nan')"


@pytest.fixture
def quick(bars_file: Path, tmp_path: Path) -> TuneSettings:
    """A study of seconds."""
    spec = FeatureSpec().to_json()
    return TuneSettings("xgboost", str(bars_file), str(tmp_path / "out"), spec, study="s", trials=3, folds=2)


def run(settings: TuneSettings) -> Tuned:
    with progress_bar(enabled=False) as progress:
        tuned = tune(settings, progress)
    assert tuned is not None
    return tuned


@contextmanager
def started(settings: TuneSettings, slow: Path | None = None, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`tune` in a process group of its own, its trials slowed down."""
    code = (
        "import json, sys\n"
        "from optimization.parallel import progress_bar\n"
        "from optimization.tune.run import tune\n"
        "from optimization.tune.settings import TuneSettings\n"
        "with progress_bar(enabled=False) as progress:\n"
        "    tune(TuneSettings(**json.loads(sys.argv[1])), progress)\n"
    )
    environment = {**os.environ, **environment}
    if slow is not None:
        (slow / "sitecustomize.py").write_text(SLOW)
        environment["PYTHONPATH"] = str(slow)
    command = [sys.executable, "-c", code, json.dumps(asdict(settings))]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def trials_of(settings: TuneSettings) -> list[optuna.trial.FrozenTrial]:
    out = Path(settings.out)
    # PostgreSQL's tables are made by whoever comes first, so two must not come at once.
    with making(settings.storage, out), open_storage(settings.storage, out, 1) as storage:
        if settings.study not in [study.study_name for study in optuna.get_all_study_summaries(storage)]:
            return []
        return optuna.load_study(study_name=settings.study, storage=storage).trials


def awaited(settings: TuneSettings, process: subprocess.Popen[bytes], number: int) -> int:
    """Process id of the worker that is at trial ``number``, once it has a fold behind it."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        assert process.poll() is None, process.communicate()[1].decode()
        trials = trials_of(settings) if Path(settings.out).exists() else []
        if len(trials) > number and trials[number].state is TrialState.RUNNING and trials[number].intermediate_values:
            return int(trials[number].user_attrs[WORKER].rsplit(":", 1)[1])
        time.sleep(0.05)
    raise AssertionError(f"trial {number} was not begun in {PATIENCE_S:.0f} s")


def params_of(trials: list[optuna.trial.FrozenTrial], *states: TrialState) -> list[dict[str, Any]]:
    return [trial.params for trial in trials if trial.state in states]


def test_a_study_ends_in_a_recipe_and_in_the_same_when_it_is_run_again(quick: TuneSettings) -> None:
    tuned = run(quick)
    out = Path(quick.out)
    assert {path.name for path in out.iterdir()} >= {"recipe-xgboost.json", "tune-xgboost.json", "frontier-xgboost.svg"}
    assert json.loads((out / "tune-xgboost.json").read_text()) == json.loads(json.dumps(tuned.summary()))

    recipe = read_recipe(out / "recipe-xgboost.json")
    learner_from("xgboost", recipe.settings)
    assert recipe.settings == tuned.chosen.recipe if tuned.chosen else False
    assert recipe.provenance["study"] == "s"
    assert recipe.provenance["spec_hash"] == FeatureSpec().hash
    assert recipe.provenance["folds"] == [[500, 670], [670, 840]]

    trials = trials_of(quick)
    assert len(trials) == 3
    for trial in trials:
        assert trial.value == pytest.approx(sum(trial.intermediate_values.values()) / len(trial.intermediate_values))
    best = min(trials, key=lambda trial: trial.value or 9.9)
    assert (recipe.provenance["trial"], recipe.provenance["loss"]) == (best.number, best.value)
    assert tuned.points[1].recipe == best.user_attrs[RECIPE], "the frontier begins at the winner of the search"
    assert tuned.losses["default"] == tuned.points[0].loss
    assert [one.origins for one in tuned.outer] == [359, 355]
    assert run(quick).recipe == tuned.recipe, "a finished study gave another recipe"
    assert trials_of(quick) == trials


def test_features_are_chosen_by_the_backbone_and_kept_unless_clearly_better(quick: TuneSettings) -> None:
    tuned = run(replace(quick, kind="features", study="f"))
    trials = trials_of(replace(quick, study="f"))
    assert trials[0].value == 1.0, "the default spec relative to itself"
    assert FeatureSpec.from_json(trials[0].user_attrs[RECIPE]) == FeatureSpec()
    kept = tuned.recipe.provenance["kept_default"]
    assert (tuned.recipe.spec == FeatureSpec()) == kept
    assert read_recipe(tuned.path) == tuned.recipe


def test_a_killed_worker_loses_its_trial_only(quick: TuneSettings, postgres: str, tmp_path: Path) -> None:
    settings = replace(quick, storage=postgres, study="killed", trials=4, jobs=2, heartbeat_s=30)
    with started(settings, tmp_path) as process:
        os.kill(awaited(settings, process, 1), signal.SIGKILL)
        assert process.wait(PATIENCE_S) == 0, process.communicate()[1].decode()
    trials = trials_of(settings)
    assert trials[1].state is TrialState.FAIL
    assert params_of(trials, TrialState.FAIL) == [trials[1].params]
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert 4 <= len(done) <= 5, "two workers may each begin a last trial"
    retried = [trial for trial in done if trial.system_attrs.get("failed_trial") == 1]
    assert [trial.params for trial in retried] == [trials[1].params], "the lost parameters were not tried again"
    assert (Path(settings.out) / "recipe-xgboost.json").exists()


def test_a_killed_tune_is_resumed_from_its_journal(quick: TuneSettings, tmp_path: Path) -> None:
    with started(quick, tmp_path) as process:
        worker = awaited(quick, process, 1)
        process.kill()
        process.wait()
    _gone(worker)
    left = trials_of(quick)
    assert [trial.state for trial in left] == [TrialState.COMPLETE, TrialState.RUNNING]
    run(quick)
    trials = trials_of(quick)
    assert trials[0] == left[0]
    assert trials[1].state is TrialState.FAIL
    assert [trial.params for trial in trials[2:] if "failed_trial" in trial.system_attrs] == [trials[1].params]
    assert len(params_of(trials, TrialState.COMPLETE)) == 3


def test_the_pods_of_an_indexed_job_share_a_study_and_outlive_each_other(
    quick: TuneSettings, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod is killed mid-trial and does not come back; its heartbeat stops, and the first pod does the trial."""
    settings = replace(quick, storage=postgres, study="pods", heartbeat_s=1)
    with started(settings, tmp_path, **{INDEX: "1"}) as process:
        assert awaited(settings, process, 0) == process.pid
        process.send_signal(signal.SIGKILL)
        process.wait()
    monkeypatch.setenv(INDEX, "0")
    tuned = run(settings)
    trials = trials_of(settings)
    assert trials[0].state is TrialState.FAIL
    assert len(params_of(trials, TrialState.COMPLETE)) == 3
    assert trials[0].params in params_of(trials, TrialState.COMPLETE)
    assert tuned.trials["lost"] == 1

    monkeypatch.setenv(INDEX, "1")
    with progress_bar(enabled=False) as progress:
        assert tune(settings, progress) is None, "only the first pod writes the result"
        with pytest.raises(InvalidInput, match="share a study on PostgreSQL; pass --storage"):
            tune(replace(settings, storage=None), progress)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s, file: replace(s, data=file), InvalidInput, "study 's' was made for data fingerprint"),
        (lambda s, _: replace(s, spec=FeatureSpec(levels=5).to_json()), InvalidInput, "'s' was made for feature spec"),
        (
            lambda s, _: replace(s, folds=9, study="new"),
            DataError,
            "840 bars before tune_until are too few for 9 folds",
        ),
        (lambda s, _: replace(s, max_bytes=1), WavecastError, "raise --max-bytes"),
    ],
)
def test_what_cannot_be_is_one_line_and_the_study_is_intact(
    shared: TuneSettings,
    tmp_path: Path,
    table: BarTable,
    change: Callable[[TuneSettings, str], TuneSettings],
    error: type[Exception],
    message: str,
) -> None:
    trials = trials_of(shared)
    shorter = tmp_path / "shorter.csv"
    write_bars(before(table, int(timeline(table)[-1])), str(shorter))
    with pytest.raises(error, match=message) as refused:
        run(change(shared, str(shorter)))
    assert "\n" not in str(refused.value)
    assert trials_of(shared) == trials


def test_a_study_whose_every_loss_is_nan_says_so_in_one_line_and_goes_on_when_they_are_numbers(
    quick: TuneSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NAN)
    with monkeypatch.context() as broken:
        broken.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(WavecastError, match="^study 's' has no valid trial among 3: the last says: ") as refused:
            run(quick)
    assert str(refused.value).endswith("the loss is NaN: a forecast is NaN or infinite")
    assert list(Path(quick.out).glob("recipe-*")) == []
    left = trials_of(quick)
    assert [trial.state for trial in left] == [TrialState.FAIL] * 3
    tuned = run(replace(quick, trials=4))
    assert trials_of(quick)[:3] == left
    assert tuned.trials == {"scored": 1, "stopped": 0, "failed": 3, "lost": 0}


@pytest.fixture(scope="module")
def shared(bars_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneSettings:
    """A finished search of one trial."""
    out = tmp_path_factory.mktemp("shared")
    settings = TuneSettings("xgboost", str(bars_file), str(out), FeatureSpec().to_json(), study="s", trials=1, folds=2)
    run(settings)
    return settings


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--budget", "soon"], 2, "--budget 'soon' is no time"),
        (["--storage", "postgresql://u:secret@127.0.0.1:1/db"], 1, "study storage postgresql://u:***@127.0.0.1:1/db"),
        (["--features", "none.json"], 2, "recipe 'none.json' does not exist"),
    ],
)
def test_the_command_says_what_it_refuses_in_one_line(
    bars_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    base = ["wavecast", "tune", "--member", "xgboost", "--data", str(bars_file), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*base, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == code
    assert said.startswith("error: ")
    assert message in said
    assert "secret" not in said
    assert len(said.strip().splitlines()) == 1


def _gone(pid: int) -> None:
    """Wait until a process has ended."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"worker {pid} outlived its parent")

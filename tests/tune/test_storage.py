"""What a study is kept in, and what it is kept for."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from optimization.tune.folds import Blocks
from optimization.tune.settings import TuneSettings, parse_budget
from optimization.tune.storage import alone, give_up, making, open_storage, storage_errors
from optimization.tune.study import ERROR, Identity, open_study, winner
from optimization.tune.worker import work
from predictors.core.errors import InvalidInput, StoreError, WavecastError
from predictors.wavelet.spec import FeatureSpec

pytestmark = pytest.mark.xdist_group("tune")  # with the others that need the server

EXPECTED: dict[str, Any] = {
    "kind": "xgboost",
    "data_fingerprint": "a" * 64,
    "spec_hash": "b" * 64,
    "tune_until": 10,
    "seed": 0,
    "code_version": "1",
}
BLOCKS = ((500, 600), (600, 700))
SETTINGS = TuneSettings("xgboost", "bars.csv", "out", FeatureSpec().to_json(), study="s", trials=4)


def journal(folder: Path) -> BaseStorage:
    with open_storage(None, folder, 1) as storage:
        return storage


def opened(folder: Path, folds: int | None = None, **changes: Any) -> tuple[optuna.Study, Identity]:
    return open_study("s", journal(folder), EXPECTED | changes, folds, lambda: BLOCKS, {"x": 1})


def test_a_study_is_resumed_with_what_it_was_made_with(tmp_path: Path) -> None:
    first, identity = opened(tmp_path)
    assert [trial.state for trial in first.trials] == [TrialState.WAITING]
    again, same = opened(tmp_path)
    assert same == identity
    assert again.trials == first.trials


@pytest.mark.parametrize(
    ("folds", "changes", "message"),
    [
        (None, {"data_fingerprint": "c" * 64}, "made for data fingerprint aaaaaaaaaaaa, this is cccccccccccc"),
        (None, {"spec_hash": "c" * 64}, "made for feature spec bbbbbbbbbbbb, this is cccccccccccc"),
        (None, {"tune_until": 11}, "made for tune_until 10, this is 11"),
        (None, {"seed": 3}, "made for seed 0, this is 3"),
        (None, {"kind": "lstm"}, "made for member xgboost, this is lstm"),
        (3, {}, "made for number of folds 2, this is 3"),
    ],
)
def test_a_study_made_for_something_else_is_refused_and_intact(
    tmp_path: Path, folds: int | None, changes: dict[str, Any], message: str
) -> None:
    study, _ = opened(tmp_path)
    with pytest.raises(InvalidInput, match=f"study 's' was {message}; name another with --study"):
        opened(tmp_path, folds, **changes)
    assert opened(tmp_path)[0].trials == study.trials


def test_a_study_of_somebody_else_is_refused(tmp_path: Path) -> None:
    theirs = optuna.create_study(study_name="s", storage=journal(tmp_path))
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(InvalidInput, match="was not made by 'wavecast tune'"):
        opened(tmp_path)


def test_workers_that_start_at_once_on_an_empty_database_make_one_study(postgres: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute("CREATE DATABASE crowd")
    url = postgres.replace("/postgres?", "/crowd?")
    plans: list[int] = []
    failures: list[BaseException] = []

    def plan() -> Blocks:
        plans.append(1)
        return BLOCKS

    def start() -> None:
        try:
            with making(url, tmp_path), open_storage(url, tmp_path, 1) as storage:
                open_study("s", storage, EXPECTED, None, plan, {"x": 1})
        except BaseException as wrong:  # noqa: BLE001 - shown by the assertion
            failures.append(wrong)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert plans == [1]
    with open_storage(url, tmp_path, 1) as storage:
        assert len(optuna.load_study(study_name="s", storage=storage).trials) == 1


def test_an_unreachable_database_is_one_line_without_the_password(tmp_path: Path) -> None:
    url = "postgresql://tuner:secret@127.0.0.1:1/studies"
    for attempt in (open_storage(url, tmp_path, 1), making(url, tmp_path)):
        with pytest.raises(StoreError) as refused, attempt:
            pass
        message = str(refused.value)
        assert "study storage postgresql://tuner:***@127.0.0.1:1/studies cannot be used" in message
        assert "secret" not in message
        assert "\n" not in message


def test_what_the_storage_raises_later_is_the_same_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="study.journal cannot be used: gone"), storage_errors(None, tmp_path):
        raise optuna.exceptions.StorageInternalError("gone")


def test_only_postgresql_is_shared(tmp_path: Path) -> None:
    refused = pytest.raises(InvalidInput, match="'sqlite:...' is no PostgreSQL URL")
    with refused, open_storage("sqlite:///studies.db", tmp_path, 1):
        pass


def test_one_tune_at_a_time_works_in_a_folder_until_the_last_worker_is_gone(tmp_path: Path) -> None:
    with alone(tmp_path) as lock:
        worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock])
    with pytest.raises(WavecastError, match="another 'wavecast' is at work"), alone(tmp_path):
        pass
    worker.kill()
    worker.communicate()
    with alone(tmp_path):
        pass


def test_a_trial_whose_worker_died_is_failed_and_queued_again_but_not_for_ever(tmp_path: Path) -> None:
    study, _ = opened(tmp_path)
    for _ in range(4):
        trial = study.ask()
        assert trial.suggest_int("x", 0, 3) == 1
        give_up(study, study.trials[trial.number])
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 4


def test_a_trial_that_fails_is_kept_with_its_reason_and_the_study_goes_on(tmp_path: Path) -> None:
    study, _ = opened(tmp_path)

    def broken(trial: optuna.Trial) -> float:
        raise WavecastError(f"the loss of {trial.number} is NaN")

    work(SETTINGS, 0, float("inf"), study, broken)
    assert [trial.user_attrs[ERROR] for trial in study.trials] == [f"the loss of {i} is NaN" for i in range(4)]
    with pytest.raises(WavecastError, match="study 's' has no valid trial among 4: the last says: the loss of 3 is"):
        winner(study)
    work(replace(SETTINGS, trials=None), 0, float("inf"), study, broken)
    assert len(study.trials) == 10, "a hopeless study went on"


def test_a_mistake_in_the_code_is_not_taken_for_a_bad_trial(tmp_path: Path) -> None:
    study, _ = opened(tmp_path)

    def mistaken(trial: optuna.Trial) -> float:
        raise KeyError("typo")

    with pytest.raises(KeyError):
        work(SETTINGS, 0, float("inf"), study, mistaken)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0)])
def test_a_budget_is_read(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["10", "0m", "-1m", "ten", "1d"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=f"--budget '{text}' is no time"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trials": 0}, "--trials is 0"),
        ({"jobs": 0}, "--jobs is 0"),
        ({"folds": 1}, "--folds is 1"),
        ({"kind": "x"}, "'x'"),
    ],
)
def test_settings_without_a_meaning_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(SETTINGS, **wrong)

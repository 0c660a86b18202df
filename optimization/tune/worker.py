"""One worker of a study: the same code whether `tune` started it or it is a pod of an Indexed Job."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import optuna
from optuna.study import Study

from optimization.data import read_bars
from optimization.parallel import limit_threads
from optimization.tune.folds import before
from optimization.tune.search import Objective, make_objective
from optimization.tune.settings import TuneSettings
from optimization.tune.storage import open_storage, storage_errors
from optimization.tune.study import (
    CLOSED,
    ERROR,
    IDENTITY,
    OWN_ERRORS,
    WORKER,
    Identity,
    done,
    make_pruner,
    make_sampler,
    running,
    trial_s,
)
from predictors.core.errors import InvalidInput, WavecastError

INDEX = "JOB_COMPLETION_INDEX"
"""Set by an Indexed Job, and by `tune` for its own workers."""

_HOPELESS_TRIALS = 10


def work(settings: TuneSettings, index: int, deadline: float, study: Study, objective: Objective) -> None:
    """Do trials until there are enough of them or the time (seconds since the epoch) does not do for another."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    study.sampler = make_sampler(settings.kind, settings.seed, index, study)
    study.pruner = make_pruner()
    name = worker_name(index, os.getpid())

    def attempt(trial: optuna.Trial) -> float:
        trial.set_user_attr(WORKER, name)
        try:
            return objective(trial)
        except OWN_ERRORS as wrong:
            trial.set_user_attr(ERROR, f"{wrong}".splitlines()[0] if str(wrong) else type(wrong).__name__)
            raise

    while wanted(study, settings.trials, deadline):
        study.optimize(attempt, n_trials=1, catch=OWN_ERRORS)


def worker_name(index: int, pid: int) -> str:
    """What a worker signs its trials with."""
    return f"{index}@{os.uname().nodename}:{pid}"


def wanted(study: Study, trials: int | None, deadline: float) -> bool:
    """Whether another trial is to be started."""
    ended = done(study)
    if study.user_attrs.get(CLOSED) or (trials is not None and len(ended) + len(running(study)) >= trials):
        return False
    if len(ended) >= _HOPELESS_TRIALS and all(ERROR in trial.user_attrs for trial in ended):
        return False
    return not ended or time.time() + trial_s(study) <= deadline


def main() -> None:
    """Run a worker of `tune`: its settings and deadline are the arguments; one line on stderr says why it failed."""
    settings, deadline = TuneSettings(**json.loads(sys.argv[1])), float(sys.argv[2])
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    limit_threads()
    out = Path(settings.out)
    try:
        with (
            storage_errors(settings.storage, out),
            open_storage(settings.storage, out, settings.heartbeat_s) as storage,
        ):
            study = optuna.load_study(study_name=settings.study, storage=storage)
            kept = study.user_attrs[IDENTITY]
            identity = Identity(**{**kept, "folds": tuple((a, b) for a, b in kept["folds"])})
            table = read_bars(settings.data)
            if table.fingerprint != identity.data_fingerprint:
                raise InvalidInput(f"'{settings.data}' changed while study '{settings.study}' was running")
            seen = before(table, identity.tune_until)
            objective = make_objective(settings.kind, seen, settings.feature_spec, identity.folds, settings.seed)
            work(settings, int(os.environ[INDEX]), deadline, study, objective)
    except WavecastError as wrong:
        sys.stderr.write(f"{wrong}\n")
        sys.exit(wrong.exit_code)


def _end_with(parent: int) -> None:
    """Nobody would answer for a worker whose parent was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()

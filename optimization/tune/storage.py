"""Where studies live: a journal file for the workers of one machine, PostgreSQL for those of many.

A worker that is killed leaves its trial marked as running. PostgreSQL finds it by the heartbeat
that stopped; whichever worker comes next fails the trial and queues its parameters again. A
journal has no heartbeat; there the one ``tune`` at work, which holds a lock that the kernel frees
when it and its workers are gone, does the same for what its workers and its predecessors left.
Optuna's own lock on the journal is broken after 30 s if its holder was killed at that very moment.
"""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psycopg
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from predictors.core.errors import InvalidInput, StoreError, WavecastError

JOURNAL = "study.journal"
LOCK = "study.lock"
MOST_RETRIES = 3
"""A trial that takes its worker down this often is not tried again."""

_CONNECT_S = 5
_ADVISORY_LOCK = int.from_bytes(b"wavecast", "big")
_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")


@contextmanager
def open_storage(url: str | None, out: Path, heartbeat_s: int) -> Iterator[BaseStorage]:
    """Hold PostgreSQL at ``url``, or the journal in ``out``, open, creating what is missing.

    Raises
    ------
    InvalidInput
        If the URL is of another database.
    StoreError
        If it cannot be reached.
    """
    if url is None:
        yield JournalStorage(JournalFileBackend(str(out / JOURNAL)))
        return
    with storage_errors(url, out), experiments():
        storage = RDBStorage(
            f"postgresql+psycopg://{_rest(url)}",
            engine_kwargs={"connect_args": {"connect_timeout": _CONNECT_S}, "pool_pre_ping": True},
            heartbeat_interval=heartbeat_s,
            grace_period=3 * heartbeat_s,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=MOST_RETRIES),
        )
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def making(url: str | None, out: Path) -> Iterator[None]:
    """Hold off other workers while tables and study are made: theirs would be the same, at the same time."""
    with storage_errors(url, out):
        connection = (
            psycopg.connect(f"postgresql://{_rest(url)}", connect_timeout=_CONNECT_S, autocommit=True) if url else None
        )
    with connection or nullcontext():
        if connection is not None:
            connection.execute("SELECT pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
        yield


@contextmanager
def alone(out: Path) -> Iterator[int]:
    """Hold the lock of a working folder; workers that inherit the descriptor hold it too.

    Raises
    ------
    WavecastError
        If another command, or a worker that outlived it, holds it.
    """
    lock = os.open(out / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            raise WavecastError(
                f"another 'wavecast' is at work in '{out}'; wait for it, or name another --out"
            ) from held
        yield lock
    finally:
        os.close(lock)


@contextmanager
def storage_errors(url: str | None, out: Path) -> Iterator[None]:
    """Turn what the storage's libraries raise into one line that names it, without the password."""
    try:
        yield
    except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as wrong:
        cause = wrong.__cause__ if isinstance(wrong, StorageInternalError) and wrong.__cause__ else wrong
        reason = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        raise StoreError(f"study storage {_address(url, out)} cannot be used: {reason}; run again to resume") from wrong


def give_up(study: Study, trial: FrozenTrial) -> None:
    """Fail a trial whose worker died, and queue its parameters again, as PostgreSQL's heartbeat does."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    with experiments():
        RetryHeartbeatStaleTrialCallback(max_retry=MOST_RETRIES)(study, trial)


@contextmanager
def experiments() -> Iterator[None]:
    """Use what Optuna calls experimental (the heartbeat's callback since 2.8, the Wilcoxon pruner since 3.6)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _rest(url: str) -> str:
    for scheme in _SCHEMES:
        if url.startswith(scheme):
            return url.removeprefix(scheme)
    raise InvalidInput(
        f"--storage '{url.split(':')[0]}:...' is no PostgreSQL URL; write postgresql://user@host/database"
    )


def _address(url: str | None, out: Path) -> str:
    if url is None:
        return str(out / JOURNAL)
    return sqlalchemy.make_url(url).set(query={}).render_as_string(hide_password=True)

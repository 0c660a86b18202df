"""The workers of one machine: started, watched, replaced when they are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import IO

from optuna.study import Study

from optimization.tune.settings import TuneSettings
from optimization.tune.storage import give_up
from optimization.tune.study import WORKER, done, running
from optimization.tune.worker import INDEX, wanted, worker_name
from predictors.core.errors import WavecastError

_POLL_S = 0.5
_LOSSES_PER_JOB = 5
_TERMINATE_S = 5.0


@dataclass(slots=True)
class _Worker:
    index: int
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]

    @property
    def name(self) -> str:
        return worker_name(self.index, self.process.pid)

    def last_words(self) -> str:
        """The last line on its stderr, which is closed."""
        with self.stderr:
            self.stderr.seek(0)
            lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@dataclass(slots=True)
class Crew:
    """K workers on one study.

    Attributes
    ----------
    settings
        Of the study.
    study
        As the parent sees it.
    deadline
        Seconds since the epoch after which no trial is started.
    lock
        Descriptor of the journal's lock, which the workers inherit; ``None`` on PostgreSQL.
    """

    settings: TuneSettings
    study: Study
    deadline: float
    lock: int | None
    _workers: list[_Worker] = field(default_factory=list)

    def run(self, watch: Callable[[], None]) -> None:
        """Work until nothing more is wanted; ``watch`` is called twice a second.

        A worker that is killed loses its trial only: the trial is failed and queued again, the
        worker replaced.

        Raises
        ------
        WavecastError
            If a worker fails, or too many are killed.
        """
        losses = 0
        try:
            while wanted(self.study, self.settings.trials, self.deadline):
                before = len(done(self.study))
                for index in range(self.settings.jobs):
                    self._start(index)
                while self._workers:
                    time.sleep(_POLL_S)
                    watch()
                    for worker in [one for one in self._workers if one.process.poll() is not None]:
                        self._workers.remove(worker)
                        words = worker.last_words()
                        if worker.process.returncode > 0:
                            raise WavecastError(f"worker {worker.index} failed: {words}")
                        if worker.process.returncode < 0:
                            losses += 1
                            self._lost(worker, losses)
                            self._start(worker.index)
                if len(done(self.study)) == before:
                    break
        finally:
            self._end()

    def _start(self, index: int) -> None:
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        command = [sys.executable, "-m", "optimization.tune.worker", json.dumps(asdict(self.settings))]
        process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, repr(self.deadline)],
            env={**os.environ, INDEX: str(index), "OMP_NUM_THREADS": "1"},
            stderr=stderr,
            pass_fds=() if self.lock is None else (self.lock,),
            process_group=0,  # Ctrl-C is for the parent, which ends its workers
        )
        self._workers.append(_Worker(index, process, stderr))

    def _lost(self, worker: _Worker, losses: int) -> None:
        for trial in running(self.study):
            if trial.user_attrs.get(WORKER) == worker.name:
                give_up(self.study, trial)
        if losses > _LOSSES_PER_JOB * self.settings.jobs:
            raise WavecastError(
                f"{losses} workers were killed (signal {-worker.process.returncode}; out of memory?); "
                "the study is intact: run again to resume, with fewer --jobs"
            )

    def _end(self) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            try:
                worker.process.wait(_TERMINATE_S)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.stderr.close()
            self._lost(worker, 0)

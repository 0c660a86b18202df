"""Publishers in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

from optimization.publish import publish
from predictors.core.errors import WavecastError
from predictors.store import Store

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["publishers"])


def publish_at_once(runs: Sequence[str], store_uri: str) -> list[tuple[str, str]]:
    """Publish every run at the same moment; the release and the time of its making that each publisher was given."""
    barrier, answers = _PROCESSES.Barrier(len(runs)), _PROCESSES.SimpleQueue()
    arguments = [(run, store_uri, _s3_variables(), barrier, answers) for run in runs]
    publishers = [_PROCESSES.Process(target=_publish, args=one) for one in arguments]
    for publisher in publishers:
        publisher.start()
    given = [answers.get() for _ in publishers]
    for publisher in publishers:
        publisher.join()
    return given


def publish_and_die(run: str, store_uri: str, puts: int) -> int | None:
    """Publish, but be killed with SIGKILL after so many puts; the exit code."""
    publisher = _PROCESSES.Process(target=_publish_until, args=(run, store_uri, _s3_variables(), puts))
    publisher.start()
    publisher.join()
    return publisher.exitcode


def _s3_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def _publish(
    run: str, store_uri: str, variables: Mapping[str, str], barrier: Barrier, answers: SimpleQueue[tuple[str, str]]
) -> None:
    os.environ.update(variables)
    barrier.wait()
    try:
        manifest = publish(run, store_uri)
        answers.put((manifest.release, manifest.created))
    except WavecastError as wrong:
        answers.put(("failed", str(wrong)))


def _publish_until(run: str, store_uri: str, variables: Mapping[str, str], puts: int) -> None:
    os.environ.update(variables)
    whole, left = Store.put_new, puts

    def put_new(self: Store, path: str, content: bytes) -> None:
        nonlocal left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        whole(self, path, content)
        left -= 1

    Store.put_new = put_new  # type: ignore[method-assign]
    publish(run, store_uri)

"""Independent pieces of work on all cores, with a progress bar and results that survive an interruption."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from optimization.output import write_whole, writing
from predictors.core.errors import WavecastError

Arrays = dict[str, NDArray[Any]]
Advance = Callable[[], None]


class Work(Protocol):
    """A module-level function or a partial of one: computes arrays, calls ``advance`` at each step."""

    def __call__(self, *, advance: Advance) -> Arrays: ...


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work, ``steps`` long, under a unique name."""

    name: str
    steps: int
    work: Work


def run_tasks(tasks: Sequence[Task], checkpoints: Path | None, progress: Progress) -> Mapping[str, Arrays]:
    """Run tasks in worker processes, the longest first.

    Parameters
    ----------
    tasks
        Picklable pieces of work.
    checkpoints
        Folder for finished results; those already there are not computed again. The caller names
        it after everything that decides the results.
    progress
        Where to show how far they are.

    Returns
    -------
    The results by name, in the order of ``tasks``, whichever was finished first.

    Raises
    ------
    WavecastError
        If a worker fails or dies; finished results stay in ``checkpoints``.
    StoreError
        If ``checkpoints`` cannot be written, which is found before anything is computed.
    """
    if checkpoints is not None:
        with writing(checkpoints):
            checkpoints.mkdir(parents=True, exist_ok=True)
    results: dict[str, Arrays] = {}
    for task in tasks:
        kept = _load(checkpoints, task.name)
        if kept is not None:
            results[task.name] = kept
    bars = {task.name: progress.add_task(task.name, total=task.steps) for task in tasks}
    for name in results:
        progress.update(bars[name], completed=next(task.steps for task in tasks if task.name == name))
    waiting = [task for task in tasks if task.name not in results]
    if not waiting:
        return {task.name: results[task.name] for task in tasks}
    context = multiprocessing.get_context("spawn")
    steps: Queue[str] = context.Queue()
    with ProcessPoolExecutor(
        min(len(waiting), os.cpu_count() or 1), mp_context=context, initializer=_start_worker, initargs=(steps,)
    ) as pool:
        try:
            with _held_interrupts():
                running = {pool.submit(_run, task): task for task in waiting}
            while running:
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                _show(steps, progress, bars)
                for future in done:
                    name = running.pop(future).name
                    results[name] = _result(future, name)
                    _keep(checkpoints, name, results[name])
            _show(steps, progress, bars)
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
    return {task.name: results[task.name] for task in tasks}


def progress_bar(enabled: bool) -> Progress:
    """A bar per task with the time left, on standard error if that is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not (enabled and console.is_terminal),
    )


@contextmanager
def pulse(progress: Progress, name: str) -> Iterator[None]:
    """Show that something of unknown length goes on, and that it is done."""
    bar = progress.add_task(name, total=None)
    yield
    progress.update(bar, total=1, completed=1)


_steps: Queue[str] | None = None


@contextmanager
def _held_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back while processes start, which then never see it: the parent answers it, and ends them.

    A blocked signal stays blocked in a child. It does not hold back the parent's own handler, because
    another thread can take the signal; so that is replaced as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C never interrupts this thread
        return
    held: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if held:
        raise KeyboardInterrupt


def _start_worker(steps: Queue[str]) -> None:
    global _steps
    _steps = steps
    start_worker()


def start_worker() -> None:
    """First thing in a worker process: one thread, and no longer life than the parent's."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit_threads()


def _end_with_parent() -> None:
    """A parent that was killed cannot end its workers; without it they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def limit_threads() -> None:
    """One thread per process for linear algebra: sums are then added in one order, on any machine."""
    import threadpoolctl
    import torch

    threadpoolctl.threadpool_limits(1)
    torch.set_num_threads(1)


def _run(task: Task) -> Arrays:
    def advance() -> None:
        if _steps is not None:
            _steps.put(task.name)

    return task.work(advance=advance)


def _result(future: Future[Arrays], name: str) -> Arrays:
    try:
        return future.result()
    except BrokenProcessPool as died:
        raise WavecastError(f"the worker that computed '{name}' died (out of memory?); run again to resume") from died


def _show(steps: Queue[str], progress: Progress, bars: Mapping[str, Any]) -> None:
    while not steps.empty():
        progress.advance(bars[steps.get()])


def _load(folder: Path | None, name: str) -> Arrays | None:
    if folder is None or not (folder / f"{name}.npz").exists():
        return None
    try:
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # damaged: it is computed again


def _keep(folder: Path | None, name: str, arrays: Arrays) -> None:
    if folder is None:
        return
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]  # the stub takes the keywords for its flag
    with writing(folder):
        write_whole(folder / f"{name}.npz", content.getvalue())

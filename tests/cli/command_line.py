"""`wavecast` as a user runs it: a process of its own, judged by exit code, output and what it leaves on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

COMMAND = [sys.executable, "-m", "predictors.cli"]
GIVE_UP_S = 600.0
"""Only a hang takes so long: a busy machine is no failure."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended."""

    code: int
    out: str
    err: str


def wavecast(
    *arguments: str | Path, cwd: Path, preexec: Callable[[], None] | None = None, stdout: Path | None = None
) -> Ended:
    """Run a command to its end; ``preexec`` runs in the child, to set a limit."""
    command = [*COMMAND, *map(str, arguments)]
    with Path(stdout or cwd / ".stdout").open("w+b") as out:
        ended = subprocess.run(
            command, cwd=cwd, stdout=out, stderr=subprocess.PIPE, preexec_fn=preexec, timeout=GIVE_UP_S, check=False
        )
    shown = "" if stdout else (cwd / ".stdout").read_text()
    if stdout is None:
        (cwd / ".stdout").unlink()
    return Ended(ended.returncode, shown, ended.stderr.decode())


def begin(*arguments: str | Path, cwd: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, so that its workers can be found; it can be interrupted."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell starts what runs in the background with interrupts ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def alive(session: int) -> list[int]:
    """Processes of a session that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # After the name in brackets, which may hold anything: state, parent, group, session.
                state, _, _, its_session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(its_session) == session and state != "Z":
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll until something holds; a time limit only turns a hang into a failure."""
    give_up = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain until {what}"
        time.sleep(0.02)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their content, folders with ``None``."""
    return {
        os.fspath(path.relative_to(folder)): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")
    }

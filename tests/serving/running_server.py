"""A real `wavecast serve` in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from small_release import expected

from predictors.core.artifact import ReleaseManifest
from predictors.members.onnx_member import OnnxMember

START_S = 90.0


@dataclass(slots=True)
class Published:
    """A release and its members, to compute what servers must answer."""

    store: Path
    manifest: ReleaseManifest
    members: dict[str, OnnxMember]

    def expected(self, bars: NDArray[np.float64], *kinds: str) -> dict[str, NDArray[np.float64]]:
        """The offline answer of a subset of members (all of them if none is named), window by window."""
        chosen = kinds or tuple(self.members)
        rows = [expected(bars[i : i + 1], self.manifest, self.members, chosen) for i in range(len(bars))]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


@dataclass(slots=True)
class Served:
    """A running `wavecast serve`."""

    process: subprocess.Popen[str]
    http: str
    grpc: str
    log: Path

    def children(self) -> dict[str, int]:
        """Process ids of the graph by name, for the layout ``processes``."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = re.search(r"PPid:\s+(\d+)", (folder / "status").read_text())
                command = (folder / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if parent and int(parent[1]) == self.process.pid:
                found[command[2].rsplit(".", 1)[-1]] = int(folder.name)
        return found

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """The exit code."""
        with self.process:
            return self.process.wait(60)


def wavecast(*arguments: str, log: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the command line."""
    program = str(Path(sys.executable).with_name("wavecast"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WAVECAST_")}
    with log.open("w") as errors:
        return subprocess.Popen(
            [program, *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**clean, "OMP_NUM_THREADS": "1", **environment},
        )


def serve(store: Path | str, layout: str, log: Path, **environment: str) -> Served:
    """Start a server on free ports and wait until it says where it listens."""
    process = wavecast(
        *("serve", "--store", str(store), "--layout", layout, "--port", "0", "--grpc-port", "0"),
        log=log,
        **environment,
    )
    assert process.stdout is not None
    text = ""
    deadline = time.monotonic() + START_S
    while "try " not in text:
        line = process.stdout.readline()
        if not line:
            process.stdout.close()
            raise AssertionError(f"the server ended with {process.wait(5)}: {log.read_text()}")
        assert time.monotonic() < deadline
        text += line
    http, grpc = re.search(r"REST +(\S+)", text), re.search(r"gRPC +(\S+)", text)
    assert http is not None
    assert grpc is not None
    return Served(process, http[1], grpc[1], log)

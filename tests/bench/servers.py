"""Every server of the comparison, each in processes of its own on loopback, all alive during the whole run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]  # no stubs in the environment

from predictors.core.artifact import MODEL, RELEASE, ReleaseManifest
from predictors.core.ports import held_ports
from predictors.store import member_folder, release_folder

HERE = Path(__file__).parent
OURS = f"{HERE.parent}:{HERE.parents[1]}"
"""Where our own processes and those of the peers that use our mathematics find it: this tree."""

MEMBER = "lstm"
"""The single member of the comparison: it reads both feature blocks, so no server is sent what its model ignores."""

_START_S = 120.0
_STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """``host:port`` of a server's transports; gRPC may be missing."""

    http: str
    grpc: str = ""


class Servers:
    """Starts processes; as a context manager it stops them all in the end."""

    def __init__(self, store: Path, release: ReleaseManifest, mlserver: Path, folder: Path) -> None:
        self._store = store.resolve()
        self._release = release
        self._mlserver = mlserver.resolve()
        self._folder = folder
        self._held = ExitStack()
        self._ports = iter(self._held.enter_context(held_ports(64)))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._probes: dict[str, str] = {}

    def start(self, *names: str) -> dict[str, Addresses]:
        """Start those named (all, if none is) and wait until they are ready; addresses by the name of the server."""
        found: dict[str, Addresses] = {}
        for server, launch in {
            "wavecast processes": lambda: self._wavecast("processes"),
            "wavecast embedded": lambda: self._wavecast("embedded"),
            "wavecast member": self._our_member,
            "FastAPI": self._fastapi,
            "MLServer member": self._mlserver_member,
        }.items():
            if not names or server in names:
                found[server] = launch()
        if not names or any(name.startswith("KServe") for name in names):
            found |= self._kserve()
        deadline = time.monotonic() + _START_S
        for name, url in self._probes.items():
            while not _answers(url):
                process = self._processes[name]
                assert process.poll() is None, f"{name} ended with {process.returncode}: {self._log(name)}"
                assert time.monotonic() < deadline, f"{name} is not ready: {self._log(name)}"
                time.sleep(0.1)
        return found

    def cpu_s(self) -> float:
        """Processor seconds, user and system, that all processes and their children have used."""
        parents = [psutil.Process(process.pid) for process in self._processes.values()]
        used = [p.cpu_times() for parent in parents for p in (parent, *parent.children(recursive=True))]
        return float(sum(times.user + times.system for times in used))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """SIGTERM to all, SIGKILL to those that do not end."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._held.close()

    def _launch(self, name: str, probe: str, *command: str | Path, python_path: str = OURS) -> Addresses:
        """Start one; every command takes its two ports as ``{http}`` and ``{grpc}``."""
        http, grpc = next(self._ports), next(self._ports)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("WAVECAST_")}
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [str(part).format(http=http, grpc=grpc) for part in command],
                stdout=log,
                stderr=log,
                env={**clean, "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path},
            )
        self._probes[name] = f"http://127.0.0.1:{http}{probe}"
        return Addresses(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}")

    def _log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def _wavecast(self, layout: str) -> Addresses:
        program = Path(sys.executable).with_name("wavecast")
        ports = ("--port", "{http}", "--grpc-port", "{grpc}")
        flags = ("--store", self._store, "--release", self._release.release, "--layout", layout)
        return self._launch(f"wavecast {layout}", "/v2/models/wavecast/ready", program, "serve", *flags, *ports)

    def _our_member(self) -> Addresses:
        module = (sys.executable, "-m", f"predictors.members.{MEMBER}")
        flags = ("--model-dir", self._model(MEMBER).parent, "--http-port", "{http}", "--grpc-port", "{grpc}")
        return self._launch("wavecast member", f"/v2/models/{MEMBER}/ready", *module, *flags)

    def _kserve(self) -> dict[str, Addresses]:
        """Three predictors, shared by a REST graph and a gRPC graph; the single member is one of them."""
        members = {
            kind: self._stock(f"KServe {kind}", "kserve_member", kind, "--model", self._model(kind))
            for kind in self._release.members
        }
        release = ("--release-file", self._release_file)
        rest = self._launch(
            "JSON fan-out",
            "/",
            *(sys.executable, "-m", "bench.peers.json_fanout", "--http-port", "{http}", *release),
            *(part for kind, at in members.items() for part in ("--member", f"{kind}=http://{at.http}")),
        )
        grpc_members = (part for kind, at in members.items() for part in ("--member", f"{kind}={at.grpc}"))
        grpc = self._stock("KServe fan-out", "kserve_fanout", "wavecast", *release, *grpc_members)
        wavelet = ("kserve_wavelet", "wavecast", *release)
        to_rest = ("--predictor_protocol", "v2", "--predictor_host", rest.http)
        to_grpc = ("--predictor_protocol", "grpc-v2", "--predictor_host", grpc.grpc)
        return {
            "KServe member": members[MEMBER],
            "KServe REST graph": self._stock("KServe REST graph", *wavelet, *to_rest),
            "KServe gRPC graph": self._stock("KServe gRPC graph", *wavelet, *to_grpc),
        }

    def _stock(self, name: str, module: str, model: str, *flags: str | Path) -> Addresses:
        ports = ("--http_port", "{http}", "--grpc_port", "{grpc}", "--model_name", model)
        probe = f"/v2/models/{model}/ready"
        return self._launch(name, probe, sys.executable, "-m", f"bench.peers.{module}", *ports, *flags)

    def _fastapi(self) -> Addresses:
        return self._launch(
            "FastAPI",
            "/openapi.json",
            *(sys.executable, "-m", "bench.peers.fastapi_graph", "--http-port", "{http}"),
            *("--release-file", self._release_file),
            *(part for kind in self._release.members for part in ("--model", f"{kind}={self._model(kind)}")),
        )

    def _mlserver_member(self) -> Addresses:
        """In-process inference (no parallel workers), the faster of its two ways for one small model."""
        folder = self._folder / "mlserver"
        folder.mkdir()
        http, grpc, metrics = next(self._ports), next(self._ports), next(self._ports)
        settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics}
        settings |= {"parallel_workers": 0, "debug": False}
        (folder / "settings.json").write_text(json.dumps(settings))
        model = {"name": MEMBER, "implementation": "mlserver_member.OnnxModel"}
        parameters = {"uri": str(self._model(MEMBER))}
        (folder / "model-settings.json").write_text(json.dumps({**model, "parameters": parameters}))
        name = "MLServer member"
        self._launch(name, "", self._mlserver / "bin" / "mlserver", "start", folder, python_path=str(HERE / "peers"))
        self._probes[name] = f"http://127.0.0.1:{http}/v2/models/{MEMBER}/ready"
        return Addresses(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}")

    @property
    def _release_file(self) -> Path:
        return self._store / release_folder(self._release.release) / RELEASE

    def _model(self, kind: str) -> Path:
        return self._store / member_folder(kind, self._release.members[kind]) / MODEL


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - http only
            return True
    except urllib.error.HTTPError as wrong:
        return wrong.code == 404  # a server without the probe's route
    except OSError:
        return False

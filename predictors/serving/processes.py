"""The graph on one machine: wavelet, router and one process per member, as their images run them."""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from predictors.core.artifact import GOLDEN, MANIFEST, MODEL, RELEASE, ReleaseManifest
from predictors.core.errors import WavecastError
from predictors.core.ports import held_ports
from predictors.serving.settings import PublicSettings, ServerSettings, ServeSettings
from predictors.serving.tls import trust
from predictors.store import Store, member_folder, newest_release, read_release_manifest, release_folder

Announce = Callable[[ReleaseManifest, ServeSettings, int, int], None]

_LOOPBACK = "127.0.0.1"
_POLL_S = 0.1
_QUIET_START_S = 2.0
_KILL_AFTER_S = 5.0
_ERROR = b"error: "
_CHUNK_BYTES = 65536
_PR_SET_PDEATHSIG = 1  # prctl(2)


def serve_processes(settings: ServeSettings, announce: Announce) -> None:
    """Start the processes, announce them once all are ready, and run until SIGTERM or SIGINT.

    Raises
    ------
    WavecastError
        If a process dies while loading, or the wavelet's or the router's dies later.
    """
    store = Store(settings.store)
    release = read_release_manifest(store, settings.release or newest_release(store))
    servers = 2 * (len(release.members) + 2)  # REST and gRPC of the members, the router and the wavelet
    with tempfile.TemporaryDirectory(prefix="wavecast-") as folder, held_ports(servers) as ports:
        copies = _copy(store, release, Path(folder))
        asyncio.run(_run(settings, release, copies, ports, announce))


def _copy(store: Store, release: ReleaseManifest, to: Path) -> dict[str, Path]:
    """What KServe's storage initializer would put before each process, by kind and "release"."""
    sources: dict[str, tuple[str, tuple[str, ...]]] = {
        kind: (member_folder(kind, version), (MANIFEST, MODEL, GOLDEN)) for kind, version in release.members.items()
    }
    sources["release"] = (release_folder(release.release), (RELEASE, GOLDEN))
    for name, (folder, files) in sources.items():
        (to / name).mkdir()
        for file in files:
            (to / name / file).write_bytes(store.get(f"{folder}/{file}"))
    return {name: to / name for name in sources}


@dataclass(slots=True)
class _Process:
    """One process of the graph; ``error`` is the line it wrote before it died."""

    name: str
    module: str
    flags: dict[str, object]
    http_port: int
    grpc_port: int
    error: str = ""
    child: asyncio.subprocess.Process | None = None
    ended: asyncio.Task[int] | None = None

    async def start(self) -> None:
        flags = {**self.flags, "http_port": self.http_port, "grpc_port": self.grpc_port}
        self.child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self.module, *(f"--{name}={value}" for name, value in flags.items())),
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the parent, which stops the others in order
            preexec_fn=_die_with_parent,
        )
        self.ended = asyncio.create_task(self._relay(self.child))

    async def _relay(self, child: asyncio.subprocess.Process) -> int:
        assert child.stderr is not None
        pending = bytearray()  # a line can be longer than a stream would read: the log may hold bars
        while chunk := await child.stderr.read(_CHUNK_BYTES):
            pending += chunk
            if b"\n" not in chunk:
                continue
            *lines, rest = pending.split(b"\n")
            pending = rest
            for line in lines:
                if line.startswith(_ERROR):
                    self.error = line.removeprefix(_ERROR).decode(errors="replace").strip()
                else:
                    sys.stderr.buffer.write(line + b"\n")
            sys.stderr.buffer.flush()
        return await child.wait()

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and wait while it finishes what is in flight; SIGKILL if it does not end."""
        if self.child is None or self.ended is None:
            return
        if self.child.returncode is None:
            self.child.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(self.ended), grace_s + _KILL_AFTER_S)
        except TimeoutError:
            self.child.kill()
            await self.ended

    def obituary(self) -> str:
        assert self.child is not None
        return f"{self.name} stopped: {self.error or f'exit code {self.child.returncode}'}"


def _plan(
    settings: ServeSettings, release: ReleaseManifest, copies: dict[str, Path], ports: list[int]
) -> list[_Process]:
    """The processes in the order in which they depend on each other, the public one last."""
    pairs = zip(ports[::2], ports[1::2], strict=True)
    inner = {**_flags(settings, ServerSettings), "host": _LOOPBACK, "log_level": "warning"}
    members = [
        _Process(kind, f"predictors.members.{kind}", {**inner, "model_dir": copies[kind]}, *next(pairs))
        for kind in release.members
    ]
    router = _Process(
        "router",
        "predictors.router",
        {
            **inner,
            "model_dir": copies["release"],
            "min_members": settings.min_members,
            "members": ",".join(f"{member.name}={_LOOPBACK}:{member.http_port}" for member in members),
        },
        *next(pairs),
    )
    http_port, grpc_port = next(pairs)
    wavelet = _Process(
        "wavelet",
        "predictors.wavelet",
        {
            **_flags(settings, PublicSettings),
            "model_dir": copies["release"],
            "predictor_host": f"{_LOOPBACK}:{router.http_port}",
        },
        settings.http_port or http_port,
        settings.grpc_port or grpc_port,
    )
    return [*members, router, wavelet]


def _flags(settings: ServeSettings, process: type[ServerSettings]) -> dict[str, object]:
    """Those of the settings that a process has too, as flags; each has ports of its own."""
    names = process.model_fields.keys() - {"http_port", "grpc_port"}
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in given.items()}


async def _run(
    settings: ServeSettings,
    release: ReleaseManifest,
    copies: dict[str, Path],
    ports: list[int],
    announce: Announce,
) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    processes = _plan(settings, release, copies, ports)
    public = processes[-1]
    try:
        for process in processes:
            await process.start()
        if await _until_ready(processes, settings, stopping):
            announce(release, settings, public.http_port, public.grpc_port)
            await _watch(processes, release, stopping)
    finally:
        # Against the flow: who asks stops before who is asked.
        *members, router, wavelet = processes
        await wavelet.stop(settings.grace_s)
        await router.stop(settings.grace_s)
        await asyncio.gather(*(member.stop(settings.grace_s) for member in members))


async def _until_ready(processes: list[_Process], settings: ServeSettings, stopping: asyncio.Event) -> bool:
    """Wait for the public model, which is ready when all the others are; False if told to stop before."""
    started = time.monotonic()
    told = False
    while not stopping.is_set():
        for process in processes:
            if process.ended is not None and process.ended.done():
                raise WavecastError(f"{process.obituary()}; nothing is served")
        if await asyncio.to_thread(_ready, settings, processes[-1].http_port):
            return True
        if not told and time.monotonic() - started > _QUIET_START_S:
            click.echo(f"starting {', '.join(process.name for process in processes)} ...", err=True)
            told = True
        await asyncio.sleep(_POLL_S)
    return False


async def _watch(processes: list[_Process], release: ReleaseManifest, stopping: asyncio.Event) -> None:
    """Wait until told to stop; members may die, the answers are then degraded."""
    stopped = asyncio.create_task(stopping.wait())
    alive = {process.ended: process for process in processes if process.ended is not None}
    while not stopping.is_set():
        done, _ = await asyncio.wait({stopped, *alive}, return_when=asyncio.FIRST_COMPLETED)
        for ended in done - {stopped}:
            process = alive.pop(ended)
            if process.name not in release.members:
                raise WavecastError(process.obituary())
            click.echo(f"warning: {process.obituary()}; answers are degraded", err=True)


def _ready(settings: ServeSettings, port: int) -> bool:
    reachable = {"0.0.0.0": _LOOPBACK, "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    if settings.tls_cert is None:
        connection = http.client.HTTPConnection(reachable, port, timeout=2)
    else:
        connection = http.client.HTTPSConnection(reachable, port, timeout=2, context=trust(settings.tls_cert))
    try:
        connection.request("GET", "/v2/models/wavecast/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _die_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent is gone, however it went."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

"""One process: the SDK's `ModelServer` with our routes, our gRPC service and a clean way to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn
import uvloop
from kserve import ModelServer
from kserve.model_server import app
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from predictors.core.errors import WavecastError
from predictors.serving.door import door
from predictors.serving.front import front
from predictors.serving.grpc_protocol import GrpcServer
from predictors.serving.grpc_servicer import V2Service
from predictors.serving.intake import Intake
from predictors.serving.logs import configure_logs
from predictors.serving.registry import Registry
from predictors.serving.rest_infer import RestInference
from predictors.serving.rest_routes import add_routes
from predictors.serving.settings import PublicSettings, ServerSettings
from predictors.serving.tls import Certificate
from predictors.serving.work import Worker


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the process, which stops REST and gRPC together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server(ModelServer):  # type: ignore[misc]  # kserve ships no types
    """A KServe model server on one host address, REST and gRPC on one uvloop.

    The SDK's own binds every interface, shares ports silently, runs on the plain asyncio loop, logs
    four lines per request and cannot register a model that becomes ready later; so `start` is ours.
    """

    def __init__(self, settings: ServerSettings, worker: Worker) -> None:
        configure_logs(settings.log_level)
        super().__init__(workers=1, enable_latency_logging=False, grace_period=settings.grace_s)
        self.http_port: int = settings.http_port
        self.grpc_port: int = settings.grpc_port
        self._settings = settings
        self._worker = worker
        self._intake = Intake(settings)
        public = settings if isinstance(settings, PublicSettings) else None
        self._cors_origins = [] if public is None else public.cors_origins
        self._certificate = None if public is None else Certificate.of(public)
        self._stopping = asyncio.Event()
        self.announce: Callable[[], None] = lambda: None
        """Called once when both servers listen; ``http_port`` and ``grpc_port`` are then the real ones."""

    def start(self, registry: Registry) -> None:
        """Serve until SIGTERM or SIGINT; requests in flight finish first.

        Raises
        ------
        WavecastError
            If a port is taken, or a model is refused while it warms up.
        """
        gc.collect()
        gc.freeze()  # what is loaded stays; to look through it again and again would stop requests for milliseconds
        uvloop.run(self._run(registry))

    async def _run(self, registry: Registry) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        listener = self._bind(self.http_port)
        self.http_port = listener.getsockname()[1]
        grpc_server = await self._start_grpc(registry)
        inference = RestInference(registry, self._worker, self._intake, self._settings.max_bytes)
        add_routes(app, inference)
        config = uvicorn.Config(
            front(app, self._intake, self._cors_origins),
            http=HttpToolsProtocol if self._cors_origins else door(inference),
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=self.timeout_keep_alive,
            timeout_graceful_shutdown=int(self.grace_period),
        )
        config.load()
        config.ssl = None if self._certificate is None else self._certificate.context()
        rest = _Uvicorn(config)
        serving = asyncio.create_task(rest.serve([listener]))
        warming = [asyncio.create_task(model.warm_up()) for model in registry.models.values()]
        stopped = asyncio.create_task(self._stopping.wait())
        self.announce()
        try:
            await self._wait(stopped, serving, warming)
        finally:
            for task in (stopped, *warming):
                task.cancel()
            rest.should_exit = True
            await asyncio.gather(serving, grpc_server.stop(self.grace_period))
            self._worker.close()
            self._intake.close()

    async def _wait(
        self, stopped: asyncio.Task[bool], serving: asyncio.Task[None], warming: list[asyncio.Task[None]]
    ) -> None:
        """Return when told to stop; raise if something ended by itself."""
        waiting: set[asyncio.Task[object]] = {stopped, serving, *warming}
        while True:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if stopped in done or serving in done:
                return

    def _bind(self, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        try:
            return socket.create_server((self._settings.host, port), family=family, backlog=2048)
        except OSError as wrong:
            raise WavecastError(
                f"cannot listen on {self._settings.host}:{port}: {os.strerror(wrong.errno or 0).lower()}; "
                "choose another address or port"
            ) from wrong

    async def _start_grpc(self, registry: Registry) -> GrpcServer:
        listener = self._bind(self.grpc_port)
        self.grpc_port = listener.getsockname()[1]
        service = V2Service(registry, self._worker, self._intake)
        server = GrpcServer(service, self._settings.max_bytes, self._settings.timeout_s)
        await server.start(listener, None if self._certificate is None else self._certificate.context("h2"))
        return server


def run_process(main: Callable[[], None]) -> None:
    """Run a process's main function; a failure is one line on stderr and an exit code."""
    try:
        main()
    except WavecastError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        sys.exit(wrong.exit_code)

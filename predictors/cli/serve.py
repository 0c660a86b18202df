"""`wavecast serve`: a release over V2 REST and gRPC, in one process or in one per stage and member."""

from __future__ import annotations

import click

from predictors.core.artifact import ReleaseManifest
from predictors.serving.guard import check_exposure
from predictors.serving.settings import ServeSettings, read_settings
from predictors.store import Store, read_release


@click.command()
@click.option("--store", metavar="URI", help="Store to serve from: a path, file:// or s3://. [.wavecast/store]")
@click.option("--release", metavar="ID", help="Release to serve. [the newest]")
@click.option("--host", help="Address to listen on. [127.0.0.1]")
@click.option("--port", "http_port", type=int, help="Port of the REST server. [8080]")
@click.option("--grpc-port", type=int, help="Port of the gRPC server. [8081]")
@click.option(
    "--layout",
    type=click.Choice(["embedded", "processes"]),
    help="One process, or one each for the wavelets, the router and every member. [embedded]",
)
@click.option("--api-keys", metavar="FILE", help="API keys that may ask, made by 'wavecast keys create'. [no keys]")
@click.option("--insecure", is_flag=True, default=None, help="Serve a network without keys.")
@click.option("--tls-cert", metavar="FILE", help="Certificate chain for REST and gRPC, PEM. [no TLS]")
@click.option("--tls-key", metavar="FILE", help="Its private key, PEM.")
def serve(**flags: object) -> None:
    """Serve a release over V2 REST and gRPC until SIGTERM or Ctrl-C.

    Every option can be given as an environment variable WAVECAST_*, and so can the limits
    (WAVECAST_MAX_BATCH, WAVECAST_TIMEOUT_S, WAVECAST_RATE_PER_S, WAVECAST_MAX_WAITING, ...), the
    cache (WAVECAST_CACHE_WINDOWS), CORS (WAVECAST_CORS_ORIGINS) and the log (WAVECAST_LOG_SAMPLE).
    """
    settings = read_settings(ServeSettings, {name: value for name, value in flags.items() if value is not None})
    check_exposure(settings)
    if settings.layout == "processes":
        from predictors.serving.processes import serve_processes

        serve_processes(settings, _announce)
    else:
        _serve_embedded(settings)


def _serve_embedded(settings: ServeSettings) -> None:
    # Imported late, because the SDK takes a second: a missing store is found before.
    store = Store(settings.store)
    release = read_release(store, settings.release)
    from predictors.serving.registry import Registry
    from predictors.serving.repository import Repository
    from predictors.serving.server import Server
    from predictors.serving.work import Worker

    worker = Worker(settings.inline_rows, settings.worker_threads)
    server = Server(settings, worker)
    repository = Repository(store, settings, worker)
    registry = Registry(repository.make(release), repository)
    manifest = release.manifest
    del release  # what is unloaded later is to be freed
    server.announce = lambda: _announce(manifest, settings, server.http_port, server.grpc_port)
    server.start(registry)


def _announce(release: ReleaseManifest, settings: ServeSettings, http_port: int, grpc_port: int) -> None:
    """Say where it listens, what it serves, and one command that works."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    weights = release.calibration(release.members).weights
    members = ", ".join(f"{kind} {release.members[kind]} ({weights[kind]:.0%})" for kind in sorted(weights))
    http = "http" if settings.tls_cert is None else "https"
    click.echo(
        f"wavecast serves release {release.release} ({settings.layout})\n"
        f"  members  {members}\n"
        f"  REST     {http}://{host}:{http_port}\n"
        f"  gRPC     {host}:{grpc_port}\n"
        f"  try      curl -s {http}://{host}:{http_port}/v2/models/wavecast"
    )

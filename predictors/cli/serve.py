"""`wavecast serve`: a release over V2 REST and gRPC, in one process or in one per stage and member."""

from __future__ import annotations

import click

from predictors.core.artifact import ReleaseManifest
from predictors.members.lstm import model as lstm
from predictors.members.transformer import model as transformer
from predictors.members.xgboost import model as xgboost
from predictors.serving.settings import ServeSettings, read_settings
from predictors.store import Store, read_release

_READS = {module.KIND: module.READS for module in (lstm, transformer, xgboost)}


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
def serve(**flags: object) -> None:
    """Serve a release over V2 REST and gRPC until SIGTERM or Ctrl-C.

    Every option can be given as an environment variable WAVECAST_*, and so can the limits
    (WAVECAST_MAX_BATCH, WAVECAST_TIMEOUT_S, ...).
    """
    settings = read_settings(ServeSettings, {name: value for name, value in flags.items() if value is not None})
    if settings.layout == "processes":
        from predictors.serving.processes import serve_processes

        serve_processes(settings, _announce)
    else:
        _serve_embedded(settings)


def _serve_embedded(settings: ServeSettings) -> None:
    # Imported late, because the SDK takes a second: a missing store is found before.
    release = read_release(Store(settings.store), settings.release)
    from predictors.serving.ensemble import Ensemble
    from predictors.serving.forecast import WavecastModel
    from predictors.serving.member import MemberModel
    from predictors.serving.server import Server
    from predictors.serving.work import Worker

    worker = Worker(settings.inline_rows, settings.worker_threads)
    server = Server(settings, worker)
    members = {
        kind: MemberModel(kind, _READS[kind], artifact, settings, worker) for kind, artifact in release.members.items()
    }
    for member in members.values():
        member.load()
    asks = {kind: member.ask for kind, member in members.items()}
    ensemble = Ensemble(release.manifest, asks, settings.min_members)
    public = WavecastModel(release.manifest, release.golden, ensemble, settings, worker)
    public.load()
    server.announce = lambda: _announce(release.manifest, settings, server.http_port, server.grpc_port)
    server.start([public, *members.values()])


def _announce(release: ReleaseManifest, settings: ServeSettings, http_port: int, grpc_port: int) -> None:
    """Say where it listens, what it serves, and one command that works."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    weights = release.calibration(release.members).weights
    members = ", ".join(f"{kind} {release.members[kind]} ({weights[kind]:.0%})" for kind in sorted(weights))
    click.echo(
        f"wavecast serves release {release.release} ({settings.layout})\n"
        f"  members  {members}\n"
        f"  REST     http://{host}:{http_port}\n"
        f"  gRPC     {host}:{grpc_port}\n"
        f"  try      curl -s http://{host}:{http_port}/v2/models/wavecast"
    )

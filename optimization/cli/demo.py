"""`wavecast demo`: everything from real bars to a served forecast, by the commands a user would type."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

_READY_WITHIN_S = 60.0


@click.command()
@click.option("--dir", "folder", default=".wavecast", show_default=True, metavar="DIR", help="Where to write.")
def demo(folder: str) -> None:
    """Go from real NASDAQ bars to a served forecast and a short backtest.

    Trains the three members, publishes their release, serves it, asks over V2 REST and gRPC, and walks the last 500
    days forward. About five minutes on two cores.

    \b
    wavecast demo
    wavecast demo --dir /tmp/wavecast
    """
    from optimization.output import writing

    began = time.monotonic()
    bars, run, store, report = (f"{folder}/{name}" for name in ("bars.csv", "run", "store", "backtest"))
    with writing(Path(folder)):
        Path(folder).mkdir(parents=True, exist_ok=True)
    _run("data", "demo", "--out", bars)
    _run("train", "--data", bars, "--run", run, "--overwrite")
    _run("publish", "--run", run, "--store", store)
    with _served(store) as (rest, grpc):
        _ask(bars, rest, grpc)
    _run("predict", "--data", bars, "--store", store)
    _run("backtest", "--data", bars, "--out", report, "--quick")
    click.secho(f"\ndone in {time.monotonic() - began:.0f} s", bold=True)
    click.echo(f"report:      {report}/report.html")
    click.echo(f"serve again: wavecast serve --store {store}")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "predictors.cli", *arguments]


def _run(*arguments: str) -> None:
    _show(arguments)
    code = subprocess.run(_command(*arguments), check=False).returncode  # noqa: S603 - our own command
    if code:
        sys.exit(code)


def _show(arguments: tuple[str, ...]) -> None:
    click.secho(f"\n$ wavecast {shlex.join(arguments)}", bold=True)


@contextlib.contextmanager
def _served(store: str) -> Iterator[tuple[str, str]]:
    """Serve the newest release on free ports; yields the REST and gRPC addresses."""
    from predictors.core.errors import NotReady
    from predictors.core.ports import held_ports

    with held_ports(2) as (http_port, grpc_port):
        arguments = ("serve", "--store", store, "--port", str(http_port), "--grpc-port", str(grpc_port))
        _show(arguments)
        with subprocess.Popen(_command(*arguments)) as server:  # noqa: S603 - our own command
            try:
                rest = f"http://127.0.0.1:{http_port}"
                give_up = time.monotonic() + _READY_WITHIN_S
                while not _ready(rest):
                    if server.poll() is not None or time.monotonic() > give_up:
                        raise NotReady("the server did not become ready; its output above says why")
                    time.sleep(0.1)
                yield rest, f"127.0.0.1:{grpc_port}"
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(timeout=30)


def _ready(rest: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{rest}/v2/models/wavecast/ready", timeout=2.0).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _ask(bars: str, rest: str, grpc: str) -> None:
    """Ask for one forecast over REST and one over gRPC; they are the same bits."""
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from predictors.client import Client
    from predictors.core.errors import WavecastError

    table = pd.read_csv(bars)
    with Client(rest) as over_rest, Client(grpc, protocol="grpc") as over_grpc:
        answers = {"V2 REST": over_rest.forecast(table), "V2 gRPC": over_grpc.forecast(table)}
    shown = Table("protocol", "bars ahead", "variance per bar", "annualised volatility", "members")
    for protocol, answer in answers.items():
        for row in answer.itertuples():
            shown.add_row(protocol, str(row.horizon), repr(row.variance), f"{row.volatility:.2%}", str(row.members))
    Console().print(shown)
    if not answers["V2 REST"].equals(answers["V2 gRPC"]):
        raise WavecastError("REST and gRPC answered differently")
    click.echo("REST and gRPC answered the same bits")

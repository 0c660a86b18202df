"""`wavecast check`: one of everything, and what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from predictors.cli.remote import (
    Duration,
    access_of,
    ca_option,
    data_option,
    json_option,
    key_option,
    seed_option,
    windows_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PAUSE_S = 1.0
_MARKS = {"ok": "[green]ok[/]", "wrong": "[red]wrong[/]"}


@click.command()
@click.argument("url")
@click.option("--grpc", "grpc_url", metavar="HOST:PORT", help="Check its gRPC port too; grpcs://HOST:PORT for TLS.")
@data_option
@seed_option
@click.option(
    "--store",
    "store_uri",
    metavar="URI",
    help="Replay the golden windows of the release that answers, as this store has them.",
)
@click.option("--release", metavar="RELEASE", help="Release that must answer.")
@key_option
@ca_option
@click.option("--timeout", type=Duration(), default="10s", show_default=True, help="Longest time for one answer.")
@click.option("--wait", type=Duration(), help="Ask again for so long, until everything works.")
@json_option
def check(
    url: str,
    grpc_url: str | None,
    data: Path | None,
    seed: int,
    store_uri: str | None,
    release: str | None,
    api_key_file: Path | None,
    ca_file: Path | None,
    timeout: float,
    wait: float | None,
    as_json: bool,
) -> None:
    """Ask the server at URL for one of everything and say what is wrong; exit code 1 if anything is.

    Health, metadata, forecasts over every transport (which must be the same bits), a batch, a
    request that must be refused, and metrics. Without --data the bars are made up: valid, and no market.

    \b
    wavecast check http://127.0.0.1:8080 --grpc 127.0.0.1:8081
    wavecast check http://127.0.0.1:8080 --store s3://models/wavecast
    wavecast check http://127.0.0.1:8080 --wait 90s    # while it starts
    """
    from predictors.client.checks import BATCH, check_server

    access = access_of(api_key_file, ca_file)
    golden = None if store_uri is None else _golden_of(store_uri)
    give_up, said = time.monotonic() + (wait or 0.0), ""
    while True:
        findings = check_server(
            url, lambda bars: windows_of(data, seed, BATCH, bars), access, timeout, grpc_url, golden, release
        )
        first = next((one for one in findings if one.status == "wrong"), None)
        if first is None or time.monotonic() >= give_up:
            break
        if first.detail != said:
            click.echo(f"waiting: {first.name}: {first.detail}", err=True)
            said = first.detail
        time.sleep(_PAUSE_S)
    wrong = sum(finding.status == "wrong" for finding in findings)
    if as_json:
        click.echo(json.dumps({"url": url, "ok": wrong == 0, "checks": [asdict(finding) for finding in findings]}))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table("check", "", "found", title=f"{url}", title_justify="left")
        made = [finding for finding in findings if finding.status != "skipped"]
        for finding in made:
            advice = f"\n[yellow]-> {escape(finding.advice)}[/]" if finding.advice else ""
            table.add_row(finding.name, _MARKS[finding.status], escape(finding.detail) + advice)
        Console().print(table)
        left = f"; {len(findings) - len(made)} more need them" if len(findings) > len(made) else ""
        click.echo(f"{wrong} of {len(made)} checks found something wrong{left}" if wrong else "everything works")
    raise SystemExit(1 if wrong else 0)


def _golden_of(uri: str) -> Callable[[str], dict[str, NDArray[Any]]]:
    from predictors.store import Store, read_golden

    store = Store(uri)
    return lambda release: read_golden(store, release)[1]

"""`wavecast loadtest`: latency and errors under a known load."""

from __future__ import annotations

import json
import re
import sys
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
from predictors.core.errors import InvalidInput

if TYPE_CHECKING:
    from predictors.loadtest import Report
    from predictors.loadtest.tally import Second

_INTERRUPTED = 130
_LONGEST_S = 3600.0


class _Share(click.ParamType[float]):
    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        parsed = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)%", value)
        if parsed is None or float(parsed[1]) > 100:
            self.fail(f"'{value}' is no share; write it as in 0.1%", param, ctx)
        return float(parsed[1]) / 100


@click.command()
@click.argument("url")
@click.option(
    "--protocol",
    type=click.Choice(["rest-json", "rest-binary", "grpc"]),
    default="rest-binary",
    show_default=True,
    help="How to ask; for gRPC, URL is host:port or grpcs://host:port.",
)
@click.option("--rate", type=click.FloatRange(0, 1e6, min_open=True), help="Open loop: requests due each second.")
@click.option(
    "--connections",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    help="Each with one request in flight at most; without --rate each asks again once it is answered.",
)
@click.option("--batch", type=click.IntRange(1, 4096), default=1, show_default=True, help="Windows in one request.")
@click.option("--bars", type=click.IntRange(1, 4096), default=128, show_default=True, help="Bars in one window.")
@click.option("--duration", type=Duration(), default="10s", show_default=True, help="Measured time, at most 60m.")
@click.option("--warmup", type=Duration(), default="2s", show_default=True, help="Time before it that is not measured.")
@click.option("--deadline", type=Duration(), default="1s", show_default=True, help="When a request is given up.")
@data_option
@seed_option
@key_option
@ca_option
@click.option("--p50", type=Duration(), help="Fail if the median latency is above.")
@click.option("--p95", type=Duration(), help="Fail if the 95th percentile is above.")
@click.option("--p99", type=Duration(), help="Fail if the 99th percentile is above.")
@click.option("--p99.9", "p99_9", type=Duration(), help="Fail if the 99.9th percentile is above.")
@click.option("--max", "maximum", type=Duration(), help="Fail if the longest latency is above.")
@click.option(
    "--errors", type=_Share(), help="Fail if more requests than this share, as in 0.1%, are not answered right."
)
@click.option(
    "--picture", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Draw the result to an SVG file."
)
@json_option
def loadtest(
    url: str,
    protocol: Any,
    rate: float | None,
    connections: int,
    batch: int,
    bars: int,
    duration: float,
    warmup: float,
    deadline: float,
    data: Path | None,
    seed: int,
    api_key_file: Path | None,
    ca_file: Path | None,
    picture: Path | None,
    as_json: bool,
    **limits: float | None,
) -> None:
    """Put a load on the server at URL and report latency percentiles and errors by kind.

    Latency counts from when a request was due, so a server that stalls is charged for every request
    that waited, and includes requests that were given up. Every answer is checked. Exit code 1 if a
    threshold is broken or nothing was answered; Ctrl-C reports what was measured so far (exit code 130).

    \b
    wavecast loadtest http://127.0.0.1:8080 --rate 200 --p99 20ms --errors 0.1%
    wavecast loadtest 127.0.0.1:8081 --protocol grpc --connections 4 --batch 10
    """
    from predictors.loadtest import Plan, run_load

    if max(duration, warmup, deadline) > _LONGEST_S:
        raise InvalidInput(f"--duration, --warmup and --deadline are at most {_LONGEST_S / 60:g}m")
    access = access_of(api_key_file, ca_file)
    plan = Plan(url, protocol, rate, connections, batch, duration, warmup, deadline)
    shown = sys.stderr.isatty()
    report = run_load(
        plan,
        lambda count: windows_of(data, seed, count, bars),
        access,
        _progress(duration) if shown else lambda _: None,
    )
    if shown:
        click.echo("\r\033[K", err=True, nl=False)
    verdicts = _verdicts(report, limits)
    if picture is not None:
        from predictors.loadtest.picture import draw

        picture.write_text(draw(report), encoding="utf-8")
    if as_json:
        click.echo(json.dumps({**report.as_json(), "thresholds": verdicts}))
    else:
        click.echo(report.text())
        for verdict in verdicts:
            click.echo(f"  {verdict['name']:<10} {'met' if verdict['met'] else 'BROKEN'}: {verdict['text']}")
    if report.interrupted:
        raise SystemExit(_INTERRUPTED)
    raise SystemExit(0 if report.answered and all(verdict["met"] for verdict in verdicts) else 1)


def _progress(duration_s: float) -> Any:
    def show(second: Second) -> None:
        line = (
            f"{second.at_s:.0f} s of {duration_s:g} s  {second.answered_per_s:.0f}/s  p50 {second.p50_ms:.3g} ms  "
            f"p99 {second.p99_ms:.3g} ms  errors {second.errors}"
        )
        click.echo(f"\r\033[K{line}", err=True, nl=False)

    return show


def _verdicts(report: Report, limits: dict[str, float | None]) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = []
    for option, limit in limits.items():
        if limit is None:
            continue
        if option == "errors":
            value, text = report.error_share, f"{report.error_share:.3%}, at most {limit:.3%}"
        else:
            option = {"maximum": "max", "p99_9": "p99.9"}.get(option, option)
            value = report.latency_ms.get(option, float("inf")) / 1e3
            text = f"{1e3 * value:.3g} ms, at most {1e3 * limit:.3g} ms"
        verdicts.append({"name": option, "limit": limit, "value": value, "met": value <= limit, "text": text})
    return verdicts

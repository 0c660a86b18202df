"""`wavecast release`: what runs on a cluster, and how another release takes over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from optimization.cli.options import busy, json_option

if TYPE_CHECKING:
    from optimization.rollout.plan import Command
    from optimization.rollout.situation import Situation

F = TypeVar("F", bound=Callable[..., Any])

_RELEASE_ID = click.argument("release", metavar="RELEASE")
_STORE = click.option("--store", envvar="WAVECAST_STORE", metavar="URI", help="Store; that of the values if not given.")
_CONTRACT = click.option(
    "--allow-contract-change", is_flag=True, help="Run a release that answers otherwise than clients rely on."
)


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_target = _options(
    click.option("--name", default="wavecast", show_default=True, help="Of the chart release, as in 'helm list'."),
    click.option("--namespace", "-n", metavar="NAME", help="That of the kubeconfig's context if not given."),
    click.option("--context", metavar="NAME", help="Of the kubeconfig; the current one if not given."),
)
_change = _options(
    _target,
    click.option("--chart", envvar="WAVECAST_CHART", metavar="DIR", help="The chart; wavecast's own if not given."),
    click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=300.0, show_default=True, metavar="S",
                 help="Longest time of one wait, in seconds."),
    click.option("--settle", "settle_s", type=click.FloatRange(min=0), default=3.0, show_default=True, metavar="S",
                 help="Time that the gateway has to follow a change of traffic, in seconds."),
    click.option("--dry-run", is_flag=True, help="Print every step and change nothing."),
    click.option("--output", type=click.Choice(["values"]), help="Print the values of the next revision, for GitOps."),
    click.option("--values", "values_file", metavar="FILE", help="Values to start from, not helm's; with --output."),
    json_option,
)  # fmt: skip


@click.group()
def release() -> None:
    """Releases on a cluster: what runs, canaries, promotion and rollback, two-step and without a lost request.

    \b
    wavecast release status
    wavecast release canary 9a41c07be2d5 --percent 20
    wavecast release promote
    wavecast release rollback

    A cluster is changed by helm, one revision at a time, with the rights of your kubeconfig. A command that was
    interrupted is completed by giving it again. Exit codes: 0 done; 1 something failed or is not ready; 2 wrong
    input; 3 the release was refused.
    """


@release.command("list")
@_target
@_STORE
@json_option
def list_(name: str, namespace: str | None, context: str | None, store: str | None, as_json: bool) -> None:
    """List the releases of the store, newest first, and what the cluster does with each.

    \b
    wavecast release list
    wavecast release list --namespace forecasts --json
    """
    with busy("asking cluster and store"):
        from dataclasses import asdict

        from rich.console import Console

        from optimization.rollout.catalogue import list_releases
        from optimization.rollout.report import plain_table
        from optimization.rollout.situation import open_store, open_target

        now = open_target(name, namespace, context, change=False)
        source = open_store(now.computed, store)
        rows = list_releases(source, now.rollout)
    if as_json:
        listed = [asdict(row) for row in rows]
        click.echo(json.dumps({"store": source.uri, "name": name, "namespace": now.namespace, "releases": listed}))
        return
    click.echo(f"releases in {source.uri}")
    table = plain_table("release", "created", "role", "share", "members")
    for row in rows:
        created = row.created[:16].replace("T", " ") or "not in the store"
        share = "" if row.role == "-" else f"{row.share} %"
        members = "\n".join(f"{kind} {version}" for kind, version in sorted(row.members.items()))
        table.add_row(row.release, created, row.role, share, members)
    Console(highlight=False).print(table)


@release.command()
@_RELEASE_ID
@_target
@_STORE
@json_option
def show(release: str, name: str, namespace: str | None, context: str | None, store: str | None, as_json: bool) -> None:
    """Show what RELEASE forecasts, from which members, how it differs from the stable one, and whether it runs.

    \b
    wavecast release show 9a41c07be2d5
    """
    with busy(f"reading {release}"):
        from dataclasses import asdict

        from optimization.rollout.catalogue import show_release
        from optimization.rollout.report import shown_lines, take_status
        from optimization.rollout.situation import open_store, open_target

        now = open_target(name, namespace, context, change=False)
        shown = show_release(open_store(now.computed, store), now.rollout, release)
        found = take_status(now.observer, now.rollout)
        running = next((one for one in found.releases if one.release == release), None)
    if as_json:
        click.echo(json.dumps({**asdict(shown), "running": None if running is None else asdict(running)}))
    else:
        for line in shown_lines(shown, running):
            click.echo(line)


@release.command()
@_target
@json_option
def status(name: str, namespace: str | None, context: str | None, as_json: bool) -> None:
    """Say what runs, with which share of the traffic, from which artifacts, and why something is not ready.

    Exit code 0 if all that runs is ready and the gateway follows, 1 if not; then one line for each cause.

    \b
    wavecast release status
    wavecast release status --namespace forecasts --json
    """
    with busy("asking the cluster"):
        from dataclasses import asdict

        from rich.console import Console

        from optimization.rollout.report import sources, status_table, take_status
        from optimization.rollout.situation import open_target

        target = open_target(name, namespace, context, change=False)
        found = take_status(target.observer, target.rollout)
    installed, where = target.installed, target.namespace
    assert installed is not None  # helm was asked
    if as_json:
        about = {
            "name": name,
            "namespace": where,
            "chart": installed.chart,
            "revision": installed.last,
            "status": installed.status,
            "ready": found.ready,
            "problems": list(found.problems()),
        }
        click.echo(json.dumps({**about, **asdict(found)}))
    else:
        click.echo(f"{name} in namespace {where} ({installed.chart}, revision {installed.last} {installed.status})")
        Console(highlight=False).print(status_table(found))
        click.echo(f"artifacts from {sources(found)}")
        for problem in found.problems():
            click.echo(f"not ready: {problem}")
    if not found.ready:
        raise click.exceptions.Exit(1)


@release.command()
@_RELEASE_ID
@click.option("--percent", type=int, required=True, metavar="N", help="Of the requests; 0 is for the header alone.")
@_STORE
@_CONTRACT
@_change
def canary(
    release: str, percent: int, store: str | None, allow_contract_change: bool, as_json: bool, **settings: Any
) -> None:
    """Start RELEASE beside the stable one and give it N percent of the requests.

    It is verified in the store, must answer its golden windows on this machine, and must forecast what clients of the
    stable release rely on. Given again with another N, it changes the share.

    \b
    wavecast release canary 9a41c07be2d5 --percent 20
    wavecast release canary 9a41c07be2d5 --percent 50
    wavecast release canary 9a41c07be2d5 --percent 5 --output values > values.yaml
    """
    from optimization.rollout.choose import chosen_canary

    _change_release(lambda now: chosen_canary(now, release, percent, store, allow_contract_change), as_json, settings)


@release.command()
@click.argument("release", required=False)
@_change
def promote(release: str | None, as_json: bool, **settings: Any) -> None:
    """Give the canary all requests, make it stable, and remove what it replaced.

    RELEASE is the canary; name it to be sure, or where helm keeps no history.

    \b
    wavecast release promote
    wavecast release promote 9a41c07be2d5 --dry-run
    """
    from optimization.rollout.choose import chosen_promotion

    _change_release(lambda now: chosen_promotion(now, release), as_json, settings)


@release.command()
@click.argument("release", required=False)
@_STORE
@_CONTRACT
@_change
def rollback(
    release: str | None, store: str | None, allow_contract_change: bool, as_json: bool, **settings: Any
) -> None:
    """Make RELEASE stable at once, started again if it is gone, and remove the others.

    Without RELEASE: the stable one while there is a canary, else the one that was stable before.

    \b
    wavecast release rollback
    wavecast release rollback b0289c285c0a
    """
    from optimization.rollout.choose import chosen_rollback

    _change_release(lambda now: chosen_rollback(now, release, store, allow_contract_change), as_json, settings)


@release.command()
@_change
def abort(as_json: bool, **settings: Any) -> None:
    """Take the requests from the canary and remove it; also what an interrupted command left without traffic.

    \b
    wavecast release abort
    """
    from optimization.rollout.plan import Abort

    _change_release(lambda now: Abort(), as_json, settings)


def _change_release(choose: Callable[[Situation], Command], as_json: bool, settings: Mapping[str, Any]) -> None:
    """What the four that change something have in common."""
    with busy("asking the cluster"):
        from optimization.rollout.run import ChangeSettings, run
        from optimization.rollout.situation import open_situation

        wanted = ChangeSettings(**settings)
        situation = open_situation(wanted)
    with busy("verifying the release"):
        command = choose(situation)
    aside = as_json or wanted.output is not None
    done = run(
        situation,
        command,
        wanted,
        show=lambda why, diff: click.echo(f"revision: {why}\n{diff}", err=aside),
        tell=lambda text: click.echo(text, err=True),
    )
    if wanted.output is not None:
        click.echo(done.values_text, nl=False)
    elif as_json:
        click.echo(json.dumps(done.plain()))
    elif not wanted.dry_run:
        click.echo(f"done: {done.rollout.traffic}" + ("" if done.revisions else "; nothing was left to do"))

"""`wavecast store`: what is in a store, whether it is sound, and its garbage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from optimization.cli.options import busy, json_option, store_option

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from predictors.core.artifact import MemberManifest, ReleaseManifest

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class _Age(click.ParamType[timedelta]):
    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        parsed = re.fullmatch(r"(\d{1,6})([mhd])", value)
        if parsed is None:
            self.fail(f"'{value}' is no age; write minutes, hours or days as in 90m, 36h or 1d", param, ctx)
        return timedelta(**{_UNITS[parsed[2]]: int(parsed[1])})


@click.group()
def store() -> None:
    """Releases and member artifacts in a store: list, show, verify, and collect the garbage.

    \b
    wavecast store ls
    wavecast store show b0289c285c0a
    wavecast store verify --store s3://models/wavecast
    wavecast store gc --older-than 7d
    """


@store.command()
@store_option
@json_option
def ls(store: str, as_json: bool) -> None:
    """List releases, newest first, and artifacts that no release refers to.

    \b
    wavecast store ls
    wavecast store ls --store s3://models/wavecast --json
    """
    from predictors.store import Store, member_folder
    from predictors.store.inventory import take_inventory

    with busy(f"listing {store}"):
        found = take_inventory(Store(store))
    releases: list[dict[str, Any]] = [
        {
            "release": one.release,
            "created": one.created,
            "members": one.members,
            "scores": one.scores,
            "bytes": found.size(folder) + sum(found.size(member_folder(*member)) for member in one.members.items()),
        }
        for folder, one in sorted(found.releases.items(), key=lambda item: (item[1].created, item[0]), reverse=True)
    ]
    loose: list[dict[str, Any]] = [
        {"folder": folder, "complete": folder in found.artifacts, "bytes": found.size(folder)}
        for folder in sorted({*found.objects} - found.referenced() - {*found.refused})
    ]
    if as_json:
        refused = [{"folder": folder, "reason": reason} for folder, reason in sorted(found.refused.items())]
        click.echo(json.dumps({"store": store, "releases": releases, "unreferenced": loose, "refused": refused}))
        return
    shown = _table(f"releases in {store}", "release", "created", "members", "scores", "size")
    for row in releases:
        shown.add_row(
            row["release"], _time(row["created"]), _text(row["members"]), _text(row["scores"]), _size(row["bytes"])
        )
    _print(shown if releases else f"no release in {store}; 'wavecast publish' puts one there")
    if loose:
        rest = _table("no release refers to these; 'wavecast store gc' collects them", "folder", "state", "size")
        for row in loose:
            rest.add_row(row["folder"], "complete" if row["complete"] else "unfinished", _size(row["bytes"]))
        _print(rest)
    for _, reason in sorted(found.refused.items()):
        click.echo(f"warning: {reason}", err=True)


@store.command()
@click.argument("name", metavar="RELEASE|KIND/VERSION")
@store_option
@json_option
def show(name: str, store: str, as_json: bool) -> None:
    """Show all that the manifest of a release or of a member artifact says, and its lineage.

    \b
    wavecast store show b0289c285c0a
    wavecast store show lstm/1f579717bf34 --json
    """
    from predictors.store import Store, read_member_manifest, read_release_manifest
    from predictors.store.inventory import ancestry

    source = Store(store)
    with busy(f"reading {name}"):
        manifest: ReleaseManifest | MemberManifest
        if "/" in name:
            kind, _, version = name.partition("/")
            manifest = read_member_manifest(source, f"models/{name}")
            lines = [ancestry(source, kind, version)]
        else:
            manifest = read_release_manifest(source, name)
            lines = [ancestry(source, *member) for member in sorted(manifest.members.items())]
    if as_json:
        lineage = [asdict(one) for line in lines for one in line]
        click.echo(json.dumps({"manifest": asdict(manifest), "lineage": lineage}))
        return
    fields = _table(name, "field", "value")
    for key, value in asdict(manifest).items():
        fields.add_row(key, _text(value))
    tree = _table("lineage", "artifact", "derived from", "created", "scores", "data")
    for one in (one for line in lines for one in line):
        row = (_time(one.created), _text(one.scores), one.data_fingerprint[:12])
        tree.add_row(f"{one.kind}/{one.version}", one.parent or "-", *row)
    _print(fields)
    _print(tree)


@store.command()
@click.argument("release", required=False)
@store_option
@json_option
def verify(release: str | None, store: str, as_json: bool) -> None:
    """Read everything, or RELEASE with its members, and check it against the manifests.

    Sizes, checksums, identifiers, readable golden arrays, members that are there, files that should not be. One line
    for each defect, naming artifact and file, and exit code 1 if there is any.

    \b
    wavecast store verify
    wavecast store verify b0289c285c0a --store s3://models/wavecast
    """
    from rich.console import Console
    from rich.progress import track

    from predictors.store import Store
    from predictors.store.inventory import take_inventory
    from predictors.store.verify import folders_to_verify
    from predictors.store.verify import verify as check

    source = Store(store)
    with busy(f"listing {store}"):
        found = take_inventory(source)
    folders = folders_to_verify(source, found, release)
    bar = Console(stderr=True)
    checked = list(track(check(source, found, folders), "verifying", len(folders), console=bar, transient=True))
    defects = [defect for one in checked for defect in one.defects]
    files, size = sum(one.files for one in checked), sum(one.size for one in checked)
    if as_json:
        click.echo(json.dumps({"store": store, "checked": folders, "files": files, "bytes": size, "defects": defects}))
    else:
        for defect in defects:
            click.echo(defect)
        verdict = f"{len(defects)} defect(s)" if defects else "all sound"
        click.echo(f"{len(folders)} artifact(s) and release(s), {files} files, {_size(size)}: {verdict}")
    if defects:
        raise click.exceptions.Exit(1)


@store.command()
@store_option
@click.option("--older-than", type=_Age(), default="1d", show_default=True, help="Keep what is younger: 90m, 36h, 7d.")
@click.option("--delete", is_flag=True, help="Delete what is listed; without it nothing is changed.")
@json_option
def gc(store: str, older_than: timedelta, delete: bool, as_json: bool) -> None:
    """List what no release refers to and unfinished publishes; with --delete remove them.

    Releases, their members and those members' parents are never touched. Publishing at the same time is safe: a
    publish waits for a collection that has begun, a collection keeps what a publish has claimed. Ages are those of the
    store's last change of an object.

    \b
    wavecast store gc                        # shows what would go
    wavecast store gc --delete
    wavecast store gc --older-than 7d --delete --store s3://models/wavecast
    """
    from predictors.store import Store
    from predictors.store.collect import collect, garbage

    with busy(f"{'collecting' if delete else 'listing'} {store}"):
        found = (collect if delete else garbage)(Store(store), older_than)
    size = sum(one.size for one in found)
    if as_json:
        objects = [{"path": one.path, "bytes": one.size, "modified": one.modified.isoformat()} for one in found]
        click.echo(json.dumps({"store": store, "deleted": delete, "bytes": size, "objects": objects}))
        return
    shown = _table("deleted" if delete else "would be deleted", "object", "last changed, UTC", "size")
    for one in found:
        shown.add_row(one.path, _time(one.modified.isoformat()), _size(one.size))
    if found:
        _print(shown)
    hint = "; add --delete to remove them" if found and not delete else ""
    click.echo(f"{len(found)} object(s), {_size(size)} {'deleted' if delete else 'to delete'}{hint}")


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    return table


def _print(what: RenderableType) -> None:
    from rich.console import Console

    Console(markup=False, highlight=False).print(what)


def _time(iso: str) -> str:
    return iso[:16].replace("T", " ")


def _size(size: float) -> str:
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} GB"


def _text(value: Any) -> str:
    """A manifest's field for people: one line for each entry of a mapping, floats to four digits."""
    if isinstance(value, Mapping):
        return "\n".join(_lines(value)) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(f"({_text(one)})" if isinstance(one, (list, tuple)) else _text(one) for one in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _lines(mapping: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in sorted(mapping.items()):
        if isinstance(value, Mapping):
            yield from _lines(value, f"{above}{key} ")
        else:
            yield f"{above}{key} {_text(value)}"

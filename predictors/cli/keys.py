"""`wavecast keys`: API keys for `wavecast serve --api-keys FILE`."""

from __future__ import annotations

from pathlib import Path

import click

from predictors.core.errors import InvalidInput, NotFound
from predictors.serving.keys import Access, KeyRecord, new_key, read_keys, write_keys

_FILE = click.option("--file", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File of the keys.")


@click.group()
def keys() -> None:
    """API keys: create, list and revoke.

    The file keeps hashes only. A server that uses it reads it again within a second or so.
    """


@keys.command()
@click.argument("name")
@_FILE
@click.option("--scope", type=click.Choice(["read", "admin"]), default="read", help="admin may load releases. [read]")
def create(name: str, file: Path, scope: Access) -> None:
    """Create a key for NAME and print it, once."""
    records = read_keys(file) if file.exists() else []
    if any(record.name == name for record in records):
        raise InvalidInput(f"key file {file.name} has a key '{name}'; revoke it first or choose another name")
    key, record = new_key(name, scope)
    write_keys(file, [*records, record])
    click.echo(key)
    click.echo(f"This is the key '{name}' ({scope}); it is kept nowhere, only its hash in {file}.", err=True)


@keys.command("list")
@_FILE
def list_keys(file: Path) -> None:
    """List names and scopes."""
    for record in read_keys(file):
        click.echo(f"{record.name}\t{record.scope}")


@keys.command()
@click.argument("name")
@_FILE
def revoke(name: str, file: Path) -> None:
    """Revoke the key of NAME."""
    records = read_keys(file)
    left: list[KeyRecord] = [record for record in records if record.name != name]
    if len(left) == len(records):
        known = ", ".join(record.name for record in records) or "nobody's"
        raise NotFound(f"key file {file.name} has no key '{name}'; it has {known}")
    write_keys(file, left)

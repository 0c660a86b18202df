"""`wavecast publish`: a run's release goes to a store."""

from __future__ import annotations

import json

import click

from optimization.cli.options import json_option, store_option


@click.command()
@click.option("--run", "run_folder", required=True, metavar="DIR", help="Folder that 'wavecast train' wrote.")
@store_option
@json_option
def publish(run_folder: str, store: str, as_json: bool) -> None:
    """Verify a run's release and write it to a store, once, manifests last.

    \b
    wavecast publish --run runs/nasdaq
    wavecast publish --run runs/nasdaq --store s3://models/wavecast
    """
    from optimization.publish import publish as publish_run

    release = publish_run(run_folder, store)
    if as_json:
        click.echo(json.dumps({"release": release.release, "members": release.members, "store": store}))
    else:
        members = ", ".join(f"{kind} {version}" for kind, version in sorted(release.members.items()))
        click.echo(f"published release {release.release} to {store}: {members}")
        click.echo(f"next: wavecast serve{'' if store == '.wavecast/store' else f' --store {store}'}")

"""Options that several subcommands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

DEFAULT_STORE = ".wavecast/store"

data_option = click.option(
    "--data", required=True, metavar="URI", help="Bars: CSV or Parquet at a path, file:// or s3://."
)
proxy_option = click.option(
    "--proxy",
    type=click.Choice(["garman_klass", "parkinson", "squared_return", "realised"]),
    default="garman_klass",
    show_default=True,
    help="Variance proxy of a bar.",
)
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of everything random."
)
store_option = click.option(
    "--store",
    default=DEFAULT_STORE,
    show_default=True,
    envvar="WAVECAST_STORE",
    metavar="URI",
    help="Releases: a path, file:// or s3://bucket/prefix.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines.")


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Say on standard error, if that is a terminal, what takes its time."""
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield

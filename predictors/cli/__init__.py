"""The `wavecast` command: subcommands are found by entry point and loaded when asked for."""

from __future__ import annotations

import os
import sys
import traceback
from importlib.metadata import EntryPoint, entry_points

import click

from predictors.core.errors import MissingExtra, WavecastError

# Which extra brings a module that a subcommand failed to import.
_EXTRAS = {
    "serving": (
        *("fastapi", "grpc", "kserve", "orjson", "prometheus_client", "pydantic", "pydantic_settings"),
        *("starlette", "structlog", "uvicorn", "uvloop"),
    ),
    "train": ("arch", "matplotlib", "onnx", "pandas", "pyarrow", "scipy", "threadpoolctl", "torch", "xgboost"),
    "client": ("httpx",),
    "loadtest": ("hdrh", "httptools"),
    "rollout": ("kubernetes", "urllib3", "yaml"),
}


class _Commands(click.Group):
    """Subcommands from the ``wavecast.commands`` entry points."""

    def _entries(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group="wavecast.commands")}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._entries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._entries().get(cmd_name)
        try:
            return None if entry is None else entry.load()
        except ModuleNotFoundError as missing:
            return _Uninstalled(cmd_name, _missing_extra(missing))


class _Uninstalled(click.Command):
    """Stands in the list of commands for one whose extra is missing, and says so when it is run."""

    def __init__(self, name: str, error: MissingExtra) -> None:
        super().__init__(name, short_help=str(error))
        self._error = error

    def make_context(self, *_: object, **__: object) -> click.Context:
        raise self._error


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wavecast")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
def cli(debug: bool) -> None:
    """Volatility forecasts from OHLCV bars: data, training, backtests, releases and serving.

    \b
    wavecast data demo --out bars.csv              # real bars to begin with
    wavecast train --data bars.csv --run runs/1    # three members and their ensemble
    wavecast publish --run runs/1                  # one immutable release
    wavecast serve                                 # V2 REST and gRPC
    """


def main() -> None:
    """Run the command line; every failure is one line on stderr and an exit code."""
    debug = "--debug" in sys.argv[1:] or bool(os.environ.get("WAVECAST_DEBUG"))
    try:
        code = cli.main(prog_name="wavecast", standalone_mode=False)
        if isinstance(code, int):  # of a command that ended itself with click's Exit
            sys.exit(code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail("interrupted; nothing half-done was kept, run the same command again", 130, debug)
    except click.exceptions.NoArgsIsHelpError as bare:
        click.echo(bare.format_message(), err=True)
        sys.exit(bare.exit_code)
    except click.UsageError as wrong:
        command = wrong.ctx.command_path if wrong.ctx else "wavecast"
        _fail(f"{wrong.format_message().rstrip('.')}; see '{command} --help'", wrong.exit_code, debug)
    except click.ClickException as wrong:
        _fail(wrong.format_message(), wrong.exit_code, debug)
    except WavecastError as wrong:
        _fail(str(wrong), wrong.exit_code, debug)
    except ModuleNotFoundError as missing:
        error = _missing_extra(missing)
        _fail(str(error), error.exit_code, debug)
    except OSError as wrong:
        where = f" '{wrong.filename}'" if wrong.filename else ""
        _fail(f"cannot read or write{where}: {wrong.strerror or wrong}", 1, debug)
    except Exception as wrong:
        if debug:
            raise
        _fail(f"unexpected {type(wrong).__name__}: {wrong}; 'wavecast --debug ...' shows where", 1, debug)


def _missing_extra(missing: ModuleNotFoundError) -> MissingExtra:
    known = (extra for extra, modules in _EXTRAS.items() if (missing.name or "").split(".")[0] in modules)
    extra = next(known, None)
    wanted = f"wavecast[{extra}]" if extra else str(missing.name)
    return MissingExtra(f"'{missing.name}' is not installed; run: pip install '{wanted}'")


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)

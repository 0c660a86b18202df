"""Help that helps: an example in every command, and the name of what has to be installed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from command_line import wavecast

from predictors.cli import cli

ROOT = Path(__file__).parents[2]

COMMANDS = ["data", "train", "backtest", "publish", "predict", "demo", "data demo", "data check", "data import"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_that_names_the_command(tmp_path: Path, command: str) -> None:
    shown = wavecast(*command.split(), "--help", cwd=tmp_path)
    assert (shown.code, shown.err) == (0, "")
    examples = [line for line in shown.out.splitlines() if line.startswith(f"  wavecast {command}")]
    assert examples
    assert f"Usage: wavecast {command}" in shown.out


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_that_of_a_mistake(tmp_path: Path) -> None:
    shown = wavecast(cwd=tmp_path)
    assert (shown.code, shown.out) == (2, "")
    asked = wavecast("--help", cwd=tmp_path)
    assert (asked.code, asked.err) == (0, "")
    assert shown.err == asked.out
    for command in ("data", "train", "backtest", "publish", "predict", "serve", "demo"):
        assert f"\n  {command} " in asked.out


def named() -> Iterator[tuple[str, str]]:
    """Where messages, help, documents, the chart and the examples tell people to type what."""
    files = [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md"), *(ROOT / "manifests" / "examples").iterdir()]
    for folder in ("predictors", "optimization", "helm"):
        files += [one for one in (ROOT / folder).rglob("*") if one.suffix in {".py", ".tpl", ".yaml", ".txt"}]
    for file in files:
        text = file.read_text()
        shown = [text] if file.suffix != ".md" else re.findall(r"```console\n(.*?)```", text, re.DOTALL)
        lines = [found for part in shown for found in re.findall(r"^ *wavecast ([a-z].*)", part, re.MULTILINE)]
        for typed in lines + re.findall(r"['`]wavecast ([a-z][^'`\n]*)['`]", text):
            yield str(file.relative_to(ROOT)), typed.partition("#")[0]


def test_commands_and_options_that_anything_tells_people_to_type_exist() -> None:
    wrong, seen = [], set()
    for where, typed in named():
        command: click.Command = cli
        context = click.Context(cli)
        words = typed.split()
        while isinstance(command, click.Group) and words:
            found = command.get_command(context, words.pop(0))
            if found is None:
                wrong.append(f"{where}: wavecast {typed}")
                break
            command = found
        else:
            options = {name for one in command.params for name in one.opts} | {"--help"}
            wrong += [
                f"{where}: wavecast {typed}: {word}"
                for word in re.findall(r"(?<!\S)--[a-z][a-z0-9.-]*", " ".join(words))
                if word not in options
            ]
            seen.add(command.name)
    assert wrong == []
    assert seen >= {"canary", "promote", "ls", "publish", "serve", "create"}


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`wavecast` in an environment in which a module is not installed."""
    code = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['wavecast', *{arguments!r}];"
        "from predictors.cli import main; main()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("torch", "train", ["train", "--data", "{bars}", "--run", "{folder}"]),
        ("xgboost", "train", ["backtest", "--data", "{bars}", "--out", "{folder}"]),
        ("pyarrow", "train", ["predict", "--data", "x.csv"]),
        ("pyarrow", "train", ["data", "check", "x.csv"]),
        ("arch", "train", ["data", "demo", "--out", "x.csv"]),
        ("pydantic", "serving", ["serve"]),
    ],
)
def test_a_missing_extra_is_named(module: str, extra: str, arguments: list[str], bars: Path, tmp_path: Path) -> None:
    missing = without(module, *(argument.format(bars=bars, folder=tmp_path / "new") for argument in arguments))
    assert list(tmp_path.iterdir()) == []
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith(f"error: '{module}")
    assert missing.stderr.endswith(f"is not installed; run: pip install 'wavecast[{extra}]'\n")
    assert missing.stderr.count("\n") == 1


def test_the_list_of_commands_is_shown_without_the_extra_of_one_of_them() -> None:
    shown = without("pydantic", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "  train " in shown.stdout
    assert "'pydantic' is not installed" in shown.stdout

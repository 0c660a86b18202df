"""The helm program: what a chart release was made with, and its next revision."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from predictors.core.errors import InvalidInput, NotFound, WavecastError

_TIMEOUT_S = 300


class HelmError(WavecastError):
    """Helm refused or failed; the message is helm's own."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision of a chart release; ``chart`` is its name and version as in wavecast-0.1.0."""

    number: int
    status: str
    chart: str
    description: str


class Helm:
    """One chart release, asked and changed by the helm program."""

    def __init__(self, name: str, namespace: str, context: str | None) -> None:
        """Find the program.

        Raises
        ------
        NotFound
            If there is none.
        """
        self.name = name
        self.namespace = namespace
        program = os.environ.get("HELM") or "helm"
        found = shutil.which(program)
        if found is None:
            raise NotFound(f"there is no program '{program}'; install helm 3.18 or newer, or name it in HELM")
        self._program = found
        self._target = ["--namespace", namespace, *([] if context is None else ["--kube-context", context])]

    def history(self) -> list[Revision]:
        """Revisions, oldest first.

        Raises
        ------
        NotFound
            If there is no chart release of this name.
        """
        try:
            listed = self._json("history", self.name, "--max", "256", *self._target)
        except HelmError as wrong:
            if "release: not found" not in str(wrong):
                raise
            raise NotFound(
                f"namespace '{self.namespace}' has no chart release '{self.name}'; "
                "'helm install' comes first, or name another with --name and --namespace"
            ) from wrong
        return [Revision(one["revision"], one["status"], one["chart"], one["description"]) for one in listed]

    def values(self, revision: int, *, computed: bool) -> dict[str, Any]:
        """Values of a revision: the user's alone, or as the chart saw them, with its defaults."""
        flags = ["--revision", str(revision), *(["--all"] if computed else [])]
        return self._json("get", "values", self.name, *flags, *self._target) or {}

    def kinds(self) -> list[tuple[str, str]]:
        """apiVersion and kind of everything that the chart release consists of."""
        resources = yaml.safe_load_all(self._run("get", "manifest", self.name, *self._target))
        return sorted({(one["apiVersion"], one["kind"]) for one in resources if one})

    def upgrade(self, chart: Path, values: Mapping[str, Any], description: str) -> None:
        """Make a revision with these user-supplied values and no others.

        Raises
        ------
        HelmError
            If helm or the cluster refuses it.
        """
        flags = ["--reset-values", "--values", "-", "--description", description]
        # JSON is YAML; through a pipe, because values may hold credentials and a file outlives a killed command.
        self._run("upgrade", self.name, str(chart), *flags, *self._target, stdin=json.dumps(values))

    def chart_of(self, chart: Path) -> str:
        """Name and version of a chart in a folder or archive, as in wavecast-0.1.0.

        Raises
        ------
        InvalidInput
            If there is none.
        """
        try:
            shown = yaml.safe_load(self._run("show", "chart", str(chart)))
            return f"{shown['name']}-{shown['version']}"
        except HelmError as wrong:
            raise InvalidInput(f"'{chart}' is no chart ({wrong}); name its folder with --chart") from wrong

    def _json(self, *arguments: str) -> Any:
        return json.loads(self._run(*arguments, "--output", "json"))

    def _run(self, *arguments: str, stdin: str = "") -> str:
        pipe = subprocess.PIPE
        with subprocess.Popen(  # noqa: S603 - the user's own helm, no shell
            [self._program, *arguments],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,  # Ctrl-C is for us
        ) as process:
            try:
                out, errors = process.communicate(stdin, timeout=_TIMEOUT_S)
            except subprocess.TimeoutExpired as late:
                process.kill()
                raise HelmError(f"helm {arguments[0]} did not end in {_TIMEOUT_S} s") from late
            except KeyboardInterrupt:
                process.communicate()  # a revision that has begun is finished
                raise
        if process.returncode:
            lines = [line for line in errors.splitlines() if line.strip()]
            said = next((line for line in reversed(lines) if line.startswith("Error:")), lines[-1] if lines else "")
            rest = errors.partition(said)[2] if said else ""
            raise HelmError(f"helm {arguments[0]}: {' '.join((said.removeprefix('Error: ') + rest).split())}")
        return out

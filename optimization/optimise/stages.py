"""Stages whose results are kept, so that a run that was broken off goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimization.output import write_whole, writing

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stages:
    """Finished stages in a folder, one JSON file each.

    Attributes
    ----------
    folder
        Named after everything that decides the results.
    announce
        Told the name of each stage, and the seconds that it took if it is finished already.
    """

    folder: Path
    announce: Callable[[str, float | None], None]

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """The result of a stage, which must be plain JSON; computed unless it is there."""
        kept = self._kept(name)
        if kept is not None:
            self.announce(name, kept["seconds"])
            return dict(kept["result"])
        self.announce(name, None)
        began = time.monotonic()
        result = work()
        record = {"seconds": time.monotonic() - began, "result": result}
        with writing(self.folder):
            content = json.dumps(record, allow_nan=False).encode()
            write_whole(self._path(name), content)
        return dict(json.loads(content)["result"])

    def result(self, name: str) -> Result:
        """The result of a finished stage."""
        return dict(json.loads(self._path(name).read_bytes())["result"])

    def seconds(self, *names: str) -> dict[str, float]:
        """What those of some stages took that are finished, in whatever run that was."""
        kept = {name: self._kept(name) for name in names}
        return {name: record["seconds"] for name, record in kept.items() if record is not None}

    def _kept(self, name: str) -> Result | None:
        path = self._path(name)
        return json.loads(path.read_bytes()) if path.exists() else None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

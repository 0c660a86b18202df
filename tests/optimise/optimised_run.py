"""What an optimisation left."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Optimise = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True, slots=True)
class Optimised:
    """Folder with ``bars.csv``, ``store`` and ``out``, what the command said, and its report."""

    folder: Path
    said: subprocess.CompletedProcess[str]
    report: dict[str, Any]

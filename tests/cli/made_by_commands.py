"""What real commands left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Made:
    """Paths of bars, run and store."""

    bars: Path
    run: Path
    store: Path

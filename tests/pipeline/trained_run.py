"""What a training run left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from optimization.data.bars import BarTable
from predictors.core.artifact import ReleaseManifest


@dataclass(frozen=True, slots=True)
class Trained:
    """A run folder, the bars that it was trained on, and its release."""

    run: Path
    table: BarTable
    release: ReleaseManifest

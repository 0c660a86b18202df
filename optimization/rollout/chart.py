"""Where the chart lies: beside the package in a clone, or where the wheel put it."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from predictors.core.errors import NotFound

_CLONED = Path(__file__).parents[2] / "helm" / "wavecast"
_INSTALLED = Path(sysconfig.get_path("data")) / "share" / "wavecast" / "chart"


def find_chart(named: str | None) -> Path:
    """The chart that was named, else the one that this version of wavecast comes with.

    Raises
    ------
    NotFound
        If it is not there.
    """
    places = [Path(named)] if named else [_CLONED, _INSTALLED]
    for place in places:
        if (place / "Chart.yaml").is_file() or place.is_file():
            return place
    raise NotFound(f"there is no chart at '{places[-1]}'; name its folder with --chart or WAVECAST_CHART")

"""Where the chart lies: in the installed package, or beside it in a clone."""

from __future__ import annotations

from pathlib import Path

from predictors.core.errors import NotFound

_PACKAGED = Path(__file__).parent / "chart"
_CLONED = Path(__file__).parents[2] / "helm" / "wavecast"


def find_chart(named: str | None) -> Path:
    """The chart that was named, else the one that this version of wavecast comes with.

    Raises
    ------
    NotFound
        If it is not there.
    """
    places = [Path(named)] if named else [_PACKAGED, _CLONED]
    for place in places:
        if (place / "Chart.yaml").is_file() or place.is_file():
            return place
    raise NotFound(f"there is no chart at '{places[-1]}'; name its folder with --chart or WAVECAST_CHART")

"""What clients of a release rely on, and how another release differs from it."""

from __future__ import annotations

from predictors.core.artifact import ReleaseManifest
from predictors.wavelet.spec import FeatureSpec


def contract_changes(stable: ReleaseManifest, other: ReleaseManifest) -> list[str]:
    """One phrase for each difference that a client of ``stable`` would notice, besides the numbers.

    Which features, members and weights make a forecast is the release's own matter. What is forecast, for which
    horizons and levels, on which scale, and how many bars a request needs is not; fewer bars do no harm.
    """
    facts = {
        "proxy": (stable.proxy, other.proxy),
        "target": (stable.target, other.target),
        "horizons": (stable.horizons, other.horizons),
        "quantile levels": (stable.quantile_levels, other.quantile_levels),
        "bars per year": (stable.bars_per_year, other.bars_per_year),
    }
    changes = [f"{name} {_text(ours)} -> {_text(theirs)}" for name, (ours, theirs) in facts.items() if ours != theirs]
    ours, theirs = (FeatureSpec.from_json(one.spec).window_bars for one in (stable, other))
    if theirs > ours:
        changes.append(f"bars that a request needs {ours} -> {theirs}")
    return changes


def _text(fact: object) -> str:
    if isinstance(fact, tuple):
        return ",".join(f"{one:g}" for one in fact)
    return f"{fact:g}" if isinstance(fact, float) else str(fact)

"""What clients rely on: each change of it is said, and what only the release itself is concerned with is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from optimization.rollout.contract import contract_changes
from predictors.core.artifact import ReleaseManifest
from predictors.wavelet.spec import FeatureSpec

Stored = tuple[Path, list[ReleaseManifest]]
SPEC = FeatureSpec()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"horizons": (1, 10)}, ["horizons 1,5 -> 1,10"]),
        ({"horizons": (1,)}, ["horizons 1,5 -> 1"]),
        ({"proxy": "parkinson"}, ["proxy garman_klass -> parkinson"]),
        ({"quantile_levels": (0.1, 0.9)}, ["quantile levels 0.05,0.25,0.5,0.75,0.95 -> 0.1,0.9"]),
        ({"bars_per_year": 365.0}, ["bars per year 252 -> 365"]),
        ({"spec": replace(SPEC, window_bars=256).to_json()}, ["bars that a request needs 128 -> 256"]),
        ({"horizons": (1,), "bars_per_year": 365.0}, ["horizons 1,5 -> 1", "bars per year 252 -> 365"]),
        ({"spec": replace(SPEC, groups=SPEC.groups[:3]).to_json()}, []),
        ({"members": {"lstm": "0" * 12}}, []),
        ({}, []),
    ],
    ids=lambda part: ", ".join(part) or "nothing",
)
def test_each_change_that_a_client_would_notice_is_said(
    store: Stored, changed: dict[str, Any], said: list[str]
) -> None:
    stable = store[1][0]
    assert contract_changes(stable, replace(stable, **changed)) == said


def test_a_release_that_needs_fewer_bars_does_no_harm(store: Stored) -> None:
    fewer = store[1][0]
    more = replace(fewer, spec=replace(SPEC, window_bars=256).to_json())
    assert contract_changes(more, fewer) == []

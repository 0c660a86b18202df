"""`FeatureSpec`: one hash for one set of numbers, and no spec that cannot be computed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from predictors.core.errors import InvalidInput
from predictors.wavelet.spec import GROUPS, FeatureSpec

SPECS = [
    FeatureSpec(),
    FeatureSpec(proxy="parkinson", groups=("level", "echo")),
    FeatureSpec(proxy="squared_return", filter="sym4", levels=3, sequence_bars=32),
    FeatureSpec(filter="db2", levels=4, window_bars=109),
]


def test_the_hash_of_the_default_spec_is_what_published_releases_hold() -> None:
    """If this fails, raise `FeatureSpec.version`: old releases must not be served with other features."""
    assert FeatureSpec().hash == "c705c62ce7603cc56a873d6b2d70fa6ceef700799c4fba22889c7bc5ceea0c0b"


def test_each_field_changes_the_hash() -> None:
    changed = [
        FeatureSpec(proxy="parkinson"),
        FeatureSpec(filter="db1"),
        FeatureSpec(levels=5),
        FeatureSpec(window_bars=129),
        FeatureSpec(sequence_bars=63),
        FeatureSpec(groups=GROUPS[:-1]),
    ]
    assert len({spec.hash for spec in [FeatureSpec(), *changed]}) == 1 + len(changed)


@pytest.mark.parametrize("spec", SPECS)
def test_json_round_trip_keeps_spec_and_hash(spec: FeatureSpec) -> None:
    again = FeatureSpec.from_json(spec.to_json())
    assert again == spec
    assert again.hash == spec.hash
    assert json.loads(spec.to_json())["groups"] == list(spec.groups)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"proxy": "rv"}, "proxy 'rv' is unknown; choose one of garman_klass"),
        ({"groups": ()}, "groups [] must be a non-empty selection, in order, of level, haar"),
        ({"groups": ("level", "moon")}, "groups ['level', 'moon'] must be a non-empty selection"),
        ({"groups": ("haar", "level")}, "groups ['haar', 'level'] must be a non-empty selection, in order"),
        ({"groups": ("haar", "haar")}, "groups ['haar', 'haar'] must be a non-empty selection"),
        ({"filter": "d4"}, "unknown wavelet filter 'd4'"),
        ({"window_bars": 126}, "needs a window of at least 127 bars; window_bars is 126"),
        ({"levels": 7}, "filter 'haar' with 7 levels and 64 sequence bars needs a window of at least 191 bars"),
        ({"filter": "sym4"}, "needs a window of at least 505 bars; window_bars is 128"),
        ({"levels": 1, "sequence_bars": 1, "window_bars": 65}, "needs a window of at least 66 bars"),
        ({"levels": 0}, "levels is 0; it must be an integer from 1 to 4096"),
        ({"levels": -1}, "levels is -1; it must be"),
        ({"levels": 13}, "levels is 13; at most 12"),
        ({"levels": True}, "levels is True; it must be an integer"),
        ({"window_bars": 128.0}, "window_bars is 128.0; it must be an integer"),
        ({"version": 2}, "version 2 is not 1"),
        ({"sequence_bars": 0}, "sequence_bars is 0; it must be"),
    ],
)
def test_an_invalid_spec_is_refused_with_its_rule(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        FeatureSpec(**fields)


def with_fields(**changes: object) -> str:
    return json.dumps({**json.loads(FeatureSpec().to_json()), **changes})


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", "3", with_fields(moon=1), with_fields(levels="6"), with_fields(groups=None)],
)
def test_anything_but_the_json_of_a_spec_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="feature spec: "):
        FeatureSpec.from_json(text)


@pytest.mark.parametrize("spec", SPECS)
def test_names_are_unique_and_groups_partition_the_columns(spec: FeatureSpec) -> None:
    assert len(set(spec.columns)) == len(spec.columns)
    assert len(set(spec.channels)) == len(spec.channels)
    owned = [position for group in spec.groups for position in spec.columns_of(group)]
    assert owned == list(range(len(spec.columns)))
    assert spec.columns_of(*spec.groups) == tuple(owned)

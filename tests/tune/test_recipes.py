"""A recipe and a seed decide a member."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from optimization.data.bars import BarTable
from optimization.rows import Rows, make_rows
from optimization.train.members import LEARNERS, learner_from, recipe_of
from optimization.train.recipe import FEATURES, Recipe, follow, read_recipe
from optimization.train.run import train_member
from optimization.walkforward import Schedule
from predictors.core.errors import InvalidInput
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

SPEC = FeatureSpec()
DEFAULTS: dict[str, dict[str, Any]] = {
    "xgboost": {
        "share": [0.5, 0.5 / 5**0.5],
        "refit_every": 66,
        "bags": 2,
        "rounds": 100,
        "max_depth": 3,
        "eta": 0.03,
        "subsample": 0.6,
        "colsample": 0.5,
        "min_child_weight": 30.0,
        "penalty": 10.0,
        "max_bin": 64,
    },
    "lstm": {
        "network": {"bars": 16, "step_bars": 2, "width": 16, "seeds": 5},
        "training": {"rate": 0.004, "decay": 0.05, "dropout": 0.1, "epochs": 10, "warm_epochs": 3},
        "share": [0.25, 0.25],
        "refit_every": 264,
    },
    "transformer": {
        "network": {"bars": 64, "patch_bars": 4, "width": 16, "heads": 2, "hidden": 32, "seeds": 5},
        "training": {"rate": 0.003, "decay": 0.1, "dropout": 0.2, "epochs": 8, "warm_epochs": 3},
        "share": [0.25, 0.25],
        "refit_every": 264,
    },
}


@pytest.fixture(scope="module")
def rows(table: BarTable) -> Rows:
    return make_rows(table, SPEC, series_features)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_the_defaults_are_those_that_were_measured(kind: str) -> None:
    """Another default is another model for everybody: change it on purpose, here too."""
    assert recipe_of(LEARNERS[kind]) == DEFAULTS[kind]


@pytest.mark.parametrize("kind", DEFAULTS)
def test_a_recipe_survives_json(kind: str) -> None:
    assert learner_from(kind, json.loads(json.dumps(recipe_of(LEARNERS[kind])))) == LEARNERS[kind]


def test_what_a_recipe_does_not_name_keeps_its_default() -> None:
    learner = learner_from("lstm", {"network": {"width": 8}})
    changed = DEFAULTS["lstm"] | {"network": DEFAULTS["lstm"]["network"] | {"width": 8}}
    assert recipe_of(learner) == changed


@pytest.mark.parametrize(
    ("kind", "recipe", "message"),
    [
        ("xgboost", {"bag": 1}, "xgboost.bag is no setting"),
        ("xgboost", {"kind": "lstm"}, "xgboost.kind is no setting"),
        ("xgboost", {"bags": 1.0}, "xgboost.bags is 1.0; it must be an integer from 1 to 20"),
        ("xgboost", {"bags": True}, "xgboost.bags is True"),
        ("xgboost", {"eta": float("nan")}, "xgboost.eta is nan"),
        ("xgboost", {"eta": "fast"}, "xgboost.eta is 'fast'; it must be a number from 0.0001 to 1"),
        ("xgboost", {"share": [0.5]}, "xgboost.share is"),
        ("xgboost", {"share": [0.5, 1.5]}, r"xgboost.share\[1\] is 1.5"),
        ("lstm", {"network": {"bars": 15}}, "bars is 15; it must be a multiple of step_bars, 2"),
        ("lstm", {"network": {"patch_bars": 4}}, "lstm.network.patch_bars is no setting"),
        ("lstm", {"training": 3}, "lstm.training is 3; it must be an object"),
        ("transformer", {"network": {"heads": 3}}, "width is 16; it must be a multiple of heads, 3"),
        ("forest", {}, "kind 'forest' is unknown"),
    ],
)
def test_what_no_learner_can_be_is_refused_by_name(kind: str, recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        learner_from(kind, recipe)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_every_number_of_a_recipe_has_a_range(kind: str) -> None:
    for path, value in _numbers(DEFAULTS[kind], ()):
        for wrong in (-1e9, 1e9):
            nested: Any = type(value)(wrong)
            for key in reversed(path):
                nested = [nested, 0.1] if key == 0 else {key: nested}
            with pytest.raises(InvalidInput, match="it must be"):
                learner_from(kind, nested)


def _numbers(recipe: Any, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], Any]]:
    if isinstance(recipe, dict):
        return [found for key, value in recipe.items() for found in _numbers(value, (*path, key))]
    if isinstance(recipe, list):
        return [((*path, 0), recipe[0])]
    return [(path, recipe)]


def test_a_recipe_file_is_retrained_to_the_same_bytes(rows: Rows, tmp_path: Path) -> None:
    settings = recipe_of(learner_from("xgboost", {"rounds": 20, "share": [0.3, 0.1]}))
    path = tmp_path / "recipe.json"
    path.write_text(Recipe("xgboost", SPEC, settings, {"study": "s"}).to_json())

    def retrained() -> tuple[bytes, bytes]:
        learner = follow([read_recipe(path)], SPEC.proxy).learners["xgboost"]
        arrays = train_member(rows, SPEC, learner, Schedule(800, 200), 3, advance=lambda: None)
        return arrays["model"].tobytes(), arrays["log_variance"].tobytes()

    first = retrained()
    assert retrained() == first
    default = train_member(rows, SPEC, LEARNERS["xgboost"], Schedule(800, 200), 3, advance=lambda: None)
    assert default["model"].tobytes() != first[0]


def test_recipes_decide_the_spec_and_the_learners_that_they_name() -> None:
    spec = FeatureSpec(levels=5)
    chosen = follow(
        [Recipe(FEATURES, spec, {}, {}), Recipe("xgboost", spec, {"rounds": 7}, {})],
        spec.proxy,
    )
    assert chosen.spec == spec
    assert chosen.learners == {**LEARNERS, "xgboost": learner_from("xgboost", {"rounds": 7})}
    assert follow([], "parkinson").spec == FeatureSpec(proxy="parkinson")


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ([Recipe("xgboost", SPEC, {}, {})] * 2, "two recipes are for 'xgboost'"),
        (
            [Recipe("xgboost", SPEC, {}, {}), Recipe("lstm", FeatureSpec(levels=5), {}, {})],
            "different feature specs",
        ),
        ([Recipe("xgboost", FeatureSpec(proxy="parkinson"), {}, {})], "pass --proxy parkinson"),
    ],
)
def test_recipes_that_do_not_fit_together_are_refused(recipes: list[Recipe], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        follow(recipes, SPEC.proxy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("{", "is not JSON"),
        ("[]", "must be a JSON object of kind, provenance, settings, spec"),
        ('{"kind": "xgboost", "spec": {}, "settings": {}, "provenance": {}}', "feature spec: keys"),
        (Recipe("xgboost", SPEC, {"bag": 1}, {}).to_json(), "xgboost.bag is no setting"),
        (Recipe(FEATURES, SPEC, {"bag": 1}, {}).to_json(), "'features' has no settings"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_by_name(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInput, match=rf"mine.json'.*{message}"):
        read_recipe(path)

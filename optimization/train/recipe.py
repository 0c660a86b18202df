"""Recipe files: what a study chose, and where it came from, as JSON that `train` can follow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from optimization.train.learner import Learner
from optimization.train.members import LEARNERS, learner_from
from predictors.core.artifact import StudyRecord
from predictors.core.errors import InvalidInput
from predictors.wavelet.spec import FeatureSpec

FEATURES = "features"
"""Kind of the recipe that names the feature spec of all members."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one study chose.

    Attributes
    ----------
    kind
        Kind of the member, or `FEATURES`.
    spec
        The feature spec that was chosen, or that the member was tuned on.
    settings
        As `optimization.train.members.recipe_of` gives them; empty for `FEATURES`.
    provenance
        Study, trial, values, data fingerprint and code version, for the lineage; empty if a person wrote it.
    """

    kind: str
    spec: FeatureSpec
    settings: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def study(self) -> StudyRecord | None:
        """What of the provenance a manifest keeps."""
        names = [field.name for field in fields(StudyRecord)]
        if not set(names) <= set(self.provenance):
            return None
        return StudyRecord(**{name: self.provenance[name] for name in names})

    def to_json(self) -> str:
        """JSON for people and machines; the same text for the same content."""
        content = {
            "kind": self.kind,
            "spec": json.loads(self.spec.to_json()),
            "settings": self.settings,
            "provenance": self.provenance,
        }
        return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What `train` follows: one feature spec and a learner of every kind."""

    spec: FeatureSpec
    learners: Mapping[str, Learner]


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe file.

    Raises
    ------
    InvalidInput
        Naming the file, if it is not a recipe or a setting is not allowed.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise InvalidInput(f"recipe '{path}' does not exist; 'wavecast tune' writes recipes") from missing
    except (ValueError, OSError) as wrong:
        raise InvalidInput(f"recipe '{path}' is not JSON") from wrong
    expected = {"kind", "spec", "settings", "provenance"}
    if not isinstance(content, dict) or set(content) != expected:
        raise InvalidInput(f"recipe '{path}' must be a JSON object of {', '.join(sorted(expected))}")
    if not isinstance(content["provenance"], dict):
        raise InvalidInput(f"recipe '{path}': provenance must be an object")
    try:
        spec = FeatureSpec.from_json(json.dumps(content["spec"]))
        if content["kind"] != FEATURES:
            learner_from(content["kind"], content["settings"])
        elif content["settings"]:
            raise InvalidInput("recipe: kind 'features' has no settings beside its spec")
    except InvalidInput as wrong:
        raise InvalidInput(f"'{path}': {wrong}") from wrong
    return Recipe(content["kind"], spec, content["settings"], content["provenance"])


def follow(recipes: Iterable[Recipe], proxy: str) -> Chosen:
    """The spec and the learners that recipes agree on; what none of them names keeps its default.

    Raises
    ------
    InvalidInput
        If two recipes are for the same kind, for different feature specs, or for another proxy.
    """
    by_kind: dict[str, Recipe] = {}
    for recipe in recipes:
        if recipe.kind in by_kind:
            raise InvalidInput(f"two recipes are for '{recipe.kind}'; give one for each kind")
        by_kind[recipe.kind] = recipe
    specs = {recipe.spec for recipe in by_kind.values()}
    if len(specs) > 1:
        names = ", ".join(f"{kind} {recipe.spec.hash[:12]}" for kind, recipe in sorted(by_kind.items()))
        raise InvalidInput(
            f"the recipes are for different feature specs ({names}); a release has one: "
            "tune every member with the same --features recipe"
        )
    spec = next(iter(specs), FeatureSpec(proxy=proxy))
    if spec.proxy != proxy:
        raise InvalidInput(f"the recipes were tuned for the proxy {spec.proxy}, not {proxy}; pass --proxy {spec.proxy}")
    members = {kind: learner_from(kind, one.settings) for kind, one in by_kind.items() if kind != FEATURES}
    return Chosen(spec, {**LEARNERS, **members})

"""Every residual learner by the kind of member that it makes, and its settings as a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, cast

from optimization.train.learner import Learner
from optimization.train.lstm import LSTM, Lstm
from optimization.train.network import NetworkLearner, Training
from optimization.train.transformer import TRANSFORMER, Transformer
from optimization.train.xgboost import XGBOOST, BoostedLearner
from predictors.core.errors import InvalidInput

LEARNERS: dict[str, Learner] = {learner.kind: learner for learner in (LSTM, TRANSFORMER, XGBOOST)}

_SHARED = {"share": (0.0, 1.0), "refit_every": (1, 10_000)}
_RANGES: dict[type, dict[str, tuple[float, float]]] = {
    BoostedLearner: _SHARED
    | {
        "bags": (1, 20),
        "rounds": (1, 2000),
        "max_depth": (1, 8),
        "eta": (1e-4, 1.0),
        "subsample": (0.1, 1.0),
        "colsample": (0.1, 1.0),
        "min_child_weight": (0.0, 1e4),
        "penalty": (0.0, 1e4),
        "max_bin": (2, 1024),
    },
    NetworkLearner: _SHARED,
    Training: {
        "rate": (1e-6, 1.0),
        "decay": (0.0, 10.0),
        "dropout": (0.0, 0.9),
        "epochs": (1, 200),
        "warm_epochs": (1, 200),
    },
    Lstm: {"bars": (1, 512), "step_bars": (1, 64), "width": (1, 256), "seeds": (1, 20)},
    Transformer: {
        "bars": (1, 512),
        "patch_bars": (1, 64),
        "width": (1, 256),
        "heads": (1, 16),
        "hidden": (1, 1024),
        "seeds": (1, 20),
    },
}


def recipe_of(learner: Learner) -> dict[str, Any]:
    """Every setting of a learner but its kind, as plain JSON.

    The inverse of `learner_from`, so a recipe and a seed decide a fit to the byte.
    """
    recipe: dict[str, Any] = _plain(asdict(cast(Any, learner)))
    del recipe["kind"]
    return recipe


def learner_from(kind: str, recipe: Mapping[str, Any]) -> Learner:
    """The learner of a recipe; what it does not name keeps the default.

    Raises
    ------
    InvalidInput
        Naming the setting, if the kind or a setting is unknown, of another type, or out of its range.
    """
    if kind not in LEARNERS:
        raise InvalidInput(f"recipe: kind '{kind}' is unknown; choose one of {', '.join(LEARNERS)}")
    learner: Learner = _settle(LEARNERS[kind], recipe, kind)
    return learner


def _settle(default: Any, recipe: object, name: str) -> Any:
    """``default`` with the recipe's settings; dataclasses within it likewise."""
    if not isinstance(recipe, Mapping):
        raise InvalidInput(f"recipe: {name} is {recipe!r}; it must be an object of settings")
    known = {field.name: getattr(default, field.name) for field in fields(default) if field.name != "kind"}
    unknown = sorted(set(recipe) - set(known))
    if unknown:
        raise InvalidInput(f"recipe: {name}.{unknown[0]} is no setting; known are {', '.join(known)}")
    chosen = {}
    for key, value in recipe.items():
        if is_dataclass(known[key]):
            chosen[key] = _settle(known[key], value, f"{name}.{key}")
        else:
            chosen[key] = _checked(value, known[key], _RANGES[type(default)][key], f"{name}.{key}")
    return replace(default, **chosen)


def _checked(value: object, default: Any, bounds: tuple[float, float], name: str) -> Any:
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple) or len(value) != len(default):
            raise InvalidInput(f"recipe: {name} is {value!r}; it must be a list of {len(default)} numbers")
        return tuple(_checked(one, default[i], bounds, f"{name}[{i}]") for i, one in enumerate(value))
    whole = type(default) is int
    low, high = bounds
    right = type(value) is int or (not whole and type(value) is float and math.isfinite(value))
    if not right or not low <= value <= high:  # type: ignore[operator]  # it is a number if `right`
        kind = "an integer" if whole else "a number"
        raise InvalidInput(f"recipe: {name} is {value!r}; it must be {kind} from {low:g} to {high:g}")
    return type(default)(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value

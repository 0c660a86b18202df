"""The boosted residual: shallow, heavily shrunk trees on all tabular columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import xgboost
from numpy.typing import NDArray
from onnx import TensorProto, helper

from optimization.train.export import RESIDUAL
from optimization.train.learner import Fitted


@dataclass(frozen=True, slots=True)
class BoostedResidual:
    """The boosters of each horizon, one per bag; a horizon's residual is the mean of its bags."""

    boosters: tuple[tuple[xgboost.Booster, ...], ...]

    def residual(self, tabular: NDArray[np.float32], sequence: NDArray[np.float32]) -> NDArray[np.float32]:
        """Residual float32 (B, H); ``sequence`` is not read."""
        rows = xgboost.DMatrix(tabular, nthread=1)
        horizons = [np.mean([booster.predict(rows) for booster in bags], axis=0) for bags in self.boosters]
        return np.stack(horizons, axis=1).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Each booster as the bytes of its UBJ form, ``booster_{horizon}_{bag}``."""
        return {
            f"booster_{h}_{b}": np.frombuffer(booster.save_raw("ubj"), np.uint8)
            for h, bags in enumerate(self.boosters)
            for b, booster in enumerate(bags)
        }

    def graph(self) -> onnx.GraphProto:
        """One TreeEnsembleRegressor with a target per horizon; leaves hold their share of the bags' mean.

        XGBoost goes left when x < threshold in float32 (BRANCH_LT), and the features are never missing.
        """
        attributes: dict[str, Any] = {name: [] for name in (*_NODE, *_TARGET)}
        trees = 0
        for target, bags in enumerate(self.boosters):
            for booster in bags:
                for tree in json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]:
                    _append_tree(attributes, tree, trees, target, 1.0 / len(bags))
                    trees += 1
        columns, horizons = self.boosters[0][0].num_features(), len(self.boosters)
        ensemble = helper.make_node(
            "TreeEnsembleRegressor",
            ["tabular"],
            [RESIDUAL],
            name="trees",
            domain="ai.onnx.ml",
            n_targets=horizons,
            **attributes,
        )
        return helper.make_graph(
            [ensemble],
            "xgboost",
            [helper.make_tensor_value_info("tabular", TensorProto.FLOAT, ["B", columns])],
            [helper.make_tensor_value_info(RESIDUAL, TensorProto.FLOAT, ["B", horizons])],
        )


@dataclass(frozen=True, slots=True)
class BoostedLearner:
    """Squared error on the backbone's residual, ``bags`` differently seeded boosters per horizon.

    Attributes are those of `optimization.train.learner.Learner`, and XGBoost's own under its names
    (``colsample`` is by tree, ``penalty`` its ``lambda``).
    """

    kind: str = "xgboost"
    share: tuple[float, ...] = (0.5, 0.5 / 5**0.5)
    refit_every: int = 66
    bags: int = 2
    rounds: int = 100
    max_depth: int = 3
    eta: float = 0.03
    subsample: float = 0.6
    colsample: float = 0.5
    min_child_weight: float = 30.0
    penalty: float = 10.0
    max_bin: int = 64

    def fit(
        self,
        tabular: NDArray[np.float32],
        sequence: NDArray[np.float32],
        residual: NDArray[np.float64],
        seed: int,
        previous: Fitted | None = None,
    ) -> BoostedResidual:
        """Fit on matured rows from nothing; ``sequence`` and ``previous`` are not read."""
        horizons = []
        for h in range(residual.shape[1]):
            known = np.isfinite(residual[:, h])
            rows = xgboost.DMatrix(tabular[known], residual[known, h], nthread=1)
            seeds = np.random.SeedSequence([seed, h]).generate_state(self.bags) >> 1  # XGBoost wants less than 2^31
            horizons.append(tuple(xgboost.train(self.parameters(int(s)), rows, self.rounds) for s in seeds))
        return BoostedResidual(tuple(horizons))

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> BoostedResidual:
        """The fit whose ``arrays`` these are."""
        horizons: dict[str, list[xgboost.Booster]] = {}
        for name in sorted(arrays):
            booster = xgboost.Booster({"nthread": 1})
            booster.load_model(bytearray(arrays[name].tobytes()))
            horizons.setdefault(name.split("_")[1], []).append(booster)
        return BoostedResidual(tuple(tuple(bags) for bags in horizons.values()))

    def parameters(self, seed: int) -> dict[str, object]:
        """What XGBoost is given for one booster."""
        return {
            "objective": "reg:squarederror",
            "tree_method": "hist",
            "max_depth": self.max_depth,
            "eta": self.eta,
            "subsample": self.subsample,
            "colsample_bytree": self.colsample,
            "min_child_weight": self.min_child_weight,
            "lambda": self.penalty,
            "max_bin": self.max_bin,
            "base_score": 0.0,
            "nthread": 1,
            "seed": seed,
        }


XGBOOST = BoostedLearner()

_NODE = tuple(
    f"nodes_{name}" for name in ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids")
)
_TARGET = tuple(f"target_{name}" for name in ("treeids", "nodeids", "ids", "weights"))


def _append_tree(attributes: dict[str, Any], tree: dict[str, Any], number: int, target: int, weight: float) -> None:
    """Append a tree of XGBoost's JSON model, where a leaf keeps its value in place of a threshold."""
    columns = ("left_children", "right_children", "split_indices", "split_conditions")
    for node, (left, right, feature, value) in enumerate(zip(*(tree[name] for name in columns), strict=True)):
        if left < 0:
            entries = (number, node, "LEAF", 0, 0.0, 0, 0)
            leaf = (number, node, target, weight * value)
            _append(attributes, _TARGET, leaf)
        else:
            entries = (number, node, "BRANCH_LT", feature, value, left, right)
        _append(attributes, _NODE, entries)


def _append(attributes: dict[str, Any], names: tuple[str, ...], entries: tuple[object, ...]) -> None:
    for name, entry in zip(names, entries, strict=True):
        attributes[name].append(entry)

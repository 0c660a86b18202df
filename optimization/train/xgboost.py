"""The boosted residual: shallow, heavily shrunk trees on all tabular columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import xgboost
from numpy.typing import NDArray
from onnx import TensorProto, helper

from optimization.train.export import RESIDUAL
from optimization.train.learner import Fitted

BAGS = 2
ROUNDS = 100
PARAMETERS: dict[str, object] = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "max_depth": 3,
    "eta": 0.03,
    "subsample": 0.6,
    "colsample_bytree": 0.5,
    "min_child_weight": 30,
    "lambda": 10.0,
    "max_bin": 64,
    "base_score": 0.0,
    "nthread": 1,
}


@dataclass(frozen=True, slots=True)
class BoostedResidual:
    """The boosters of each horizon, one per bag; a horizon's residual is the mean of its bags."""

    boosters: tuple[tuple[xgboost.Booster, ...], ...]

    def residual(self, tabular: NDArray[np.float32], sequence: NDArray[np.float32]) -> NDArray[np.float32]:
        """Residual float32 (B, H); ``sequence`` is not read."""
        rows = xgboost.DMatrix(tabular, nthread=1)
        horizons = [np.mean([booster.predict(rows) for booster in bags], axis=0) for bags in self.boosters]
        return np.stack(horizons, axis=1).astype(np.float32)

    def graph(self) -> onnx.GraphProto:
        """One TreeEnsembleRegressor with a target per horizon; leaves hold their share of the bags' mean.

        XGBoost goes left when x < threshold in float32 (BRANCH_LT), and the features are never missing.
        """
        nodes: dict[str, list[Any]] = {name: [] for name in _NODE_FIELDS}
        leaves: dict[str, list[Any]] = {name: [] for name in _LEAF_FIELDS}
        number = 0
        for target, bags in enumerate(self.boosters):
            for booster in bags:
                content = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
                for tree in content["trees"]:
                    _append_tree(tree, number, target, len(bags), nodes, leaves)
                    number += 1
        columns = self.boosters[0][0].num_features()
        horizons = len(self.boosters)
        ensemble = helper.make_node(
            "TreeEnsembleRegressor",
            ["tabular"],
            [RESIDUAL],
            name="trees",
            domain="ai.onnx.ml",
            n_targets=horizons,
            **{f"nodes_{name}": values for name, values in nodes.items()},
            **{f"target_{name}": values for name, values in leaves.items()},
        )
        return helper.make_graph(
            [ensemble],
            "xgboost",
            [helper.make_tensor_value_info("tabular", TensorProto.FLOAT, ["B", columns])],
            [helper.make_tensor_value_info(RESIDUAL, TensorProto.FLOAT, ["B", horizons])],
        )


@dataclass(frozen=True, slots=True)
class BoostedLearner:
    """Squared error on the backbone's residual, `BAGS` differently seeded boosters per horizon."""

    kind: str = "xgboost"
    share: tuple[float, ...] = (0.5, 0.5 / 5**0.5)
    refit_every: int = 66

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
            seeds = np.random.SeedSequence([seed, h]).generate_state(BAGS) >> 1  # XGBoost wants less than 2^31
            horizons.append(tuple(xgboost.train(PARAMETERS | {"seed": int(s)}, rows, ROUNDS) for s in seeds))
        return BoostedResidual(tuple(horizons))


_NODE_FIELDS = ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids")
_LEAF_FIELDS = ("treeids", "nodeids", "ids", "weights")


def _append_tree(
    tree: dict[str, Any],
    number: int,
    target: int,
    bags: int,
    nodes: dict[str, list[Any]],
    leaves: dict[str, list[Any]],
) -> None:
    for node, (left, right, feature, value) in enumerate(
        zip(
            tree["left_children"],
            tree["right_children"],
            tree["split_indices"],
            tree["split_conditions"],
            strict=True,
        )
    ):
        leaf = left < 0
        row = (number, node, "LEAF", 0, 0.0, 0, 0) if leaf else (number, node, "BRANCH_LT", feature, value, left, right)
        for name, entry in zip(_NODE_FIELDS, row, strict=True):
            nodes[name].append(entry)
        if leaf:  # a leaf keeps its weight where a branch keeps its threshold
            for name, entry in zip(_LEAF_FIELDS, (number, node, target, value / bags), strict=True):
                leaves[name].append(entry)

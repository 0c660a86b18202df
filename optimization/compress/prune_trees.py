"""Cost-complexity pruning of boosted trees (Breiman et al. 1984, ch. 3), with XGBoost's gain as what a split is worth.

A split stays only if the gain of its subtree exceeds what the subtree's splits cost. In place of a
cut subtree stands the leaf that XGBoost itself would have put there; the other trees stay as they are.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xgboost

from optimization.rows import Rows
from optimization.train.learner import Fitted
from optimization.train.trained import Trained
from optimization.train.xgboost import BoostedLearner, BoostedResidual

SPLIT_COST = 0.5
"""Of the booster's mean gain of a split."""

_BY_NODE = (
    "base_weights",
    "default_left",
    "loss_changes",
    "split_conditions",
    "split_indices",
    "split_type",
    "sum_hessian",
)
_NO_PARENT = 2**31 - 1


def prune_trees(current: Fitted, parent: Trained, past: Rows, seed: int) -> BoostedResidual:
    """Prune every tree at `SPLIT_COST`."""
    assert isinstance(current, BoostedResidual)
    assert isinstance(parent.learner, BoostedLearner)
    eta = parent.learner.eta
    return BoostedResidual(tuple(tuple(_prune(booster, eta) for booster in bags) for bags in current.boosters))


def _prune(booster: xgboost.Booster, eta: float) -> xgboost.Booster:
    model = json.loads(booster.save_raw("json"))
    forest = model["learner"]["gradient_booster"]["model"]
    gains = [gain for tree in forest["trees"] for gain in tree["loss_changes"] if gain > 0.0]
    if not gains:
        return booster
    cost = SPLIT_COST * float(np.mean(gains))
    forest["trees"] = [_cut(tree, _worthless(tree, cost), eta) for tree in forest["trees"]]
    pruned = xgboost.Booster({"nthread": 1})
    pruned.load_model(bytearray(json.dumps(model).encode()))
    return pruned


def _worthless(tree: dict[str, Any], cost: float) -> set[int]:
    """Splits whose subtree gains no more than it costs."""
    cut: set[int] = set()

    def worth(node: int) -> float:
        left, right = tree["left_children"][node], tree["right_children"][node]
        if left < 0:
            return 0.0
        value: float = tree["loss_changes"][node] - cost + worth(left) + worth(right)
        if value <= 0.0:
            cut.add(node)
        return max(value, 0.0)

    worth(0)
    return cut


def _cut(tree: dict[str, Any], cut: set[int], eta: float) -> dict[str, Any]:
    """A tree of XGBoost's JSON model with leaves in place of some splits."""
    kept, parents = [0], [_NO_PARENT]
    children: list[tuple[int, int]] = []
    for place, node in enumerate(kept):  # which grows
        left = tree["left_children"][node]
        if left < 0 or node in cut:
            children.append((-1, -1))
            continue
        children.append((len(kept), len(kept) + 1))
        kept += [left, tree["right_children"][node]]
        parents += [place, place]
    out = {**tree, **{name: [tree[name][node] for node in kept] for name in _BY_NODE}}
    for place, node in enumerate(kept):
        if node in cut:
            weight = eta * tree["base_weights"][node]
            out["base_weights"][place] = out["split_conditions"][place] = weight
            out["loss_changes"][place], out["split_indices"][place] = 0.0, 0
    out["left_children"], out["right_children"] = ([pair[side] for pair in children] for side in (0, 1))
    out["parents"] = parents
    out["tree_param"] = {**tree["tree_param"], "num_nodes": str(len(kept))}
    return out

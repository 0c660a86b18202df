"""Trees in the tensor form of ai.onnx.ml 5: the same comparisons and leaves in two fifths of the bytes.

`TreeEnsembleRegressor` spends most of its bytes on repeating the name of the comparison and the
number of the tree for every node; `TreeEnsemble` has neither.
Specification: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

_LESS_THAN, _SUM, _NO_TRANSFORM = 1, 1, 0
_ML_OPSET = 5


def compact_trees(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite the member's `TreeEnsembleRegressor`, whose splits are all BRANCH_LT."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    place, node = next((i, n) for i, n in enumerate(out.graph.node) if n.op_type == "TreeEnsembleRegressor")
    compact = helper.make_node(
        "TreeEnsemble", node.input, node.output, domain="ai.onnx.ml", **_tensors(_attributes(node))
    )
    out.graph.node[place].CopyFrom(compact)
    for entry in out.opset_import:
        if entry.domain == "ai.onnx.ml":
            entry.version = _ML_OPSET
    return out


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def _tensors(old: dict[str, Any]) -> dict[str, Any]:
    keys = list(zip(old["nodes_treeids"], old["nodes_nodeids"], strict=True))
    leaves = {key: place for place, key in enumerate(zip(old["target_treeids"], old["target_nodeids"], strict=True))}
    splits = [place for place, key in enumerate(keys) if key not in leaves]
    split_at = {keys[place]: number for number, place in enumerate(splits)}
    features = [old["nodes_featureids"][place] for place in splits]
    thresholds = [old["nodes_values"][place] for place in splits]

    def side(name: str) -> tuple[list[int], list[int]]:
        below = [(keys[place][0], old[name][place]) for place in splits]
        return [leaves.get(key, split_at.get(key, -1)) for key in below], [int(key in leaves) for key in below]

    (true, true_leaf), (false, false_leaf) = side("nodes_truenodeids"), side("nodes_falsenodeids")
    roots = []
    for key in ((tree, 0) for tree in sorted(set(old["nodes_treeids"]))):
        if key in split_at:
            roots.append(split_at[key])
        else:  # a lone leaf is written as a split with that leaf on both sides
            roots.append(len(features))
            features.append(0)
            thresholds.append(0.0)
            for ids, flags in ((true, true_leaf), (false, false_leaf)):
                ids.append(leaves[key])
                flags.append(1)

    def tensor(values: Any, dtype: type) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, dtype))

    return {
        "n_targets": old["n_targets"],
        "aggregate_function": _SUM,
        "post_transform": _NO_TRANSFORM,
        "tree_roots": roots,
        "nodes_modes": tensor([_LESS_THAN] * len(features), np.uint8),
        "nodes_featureids": features,
        "nodes_splits": tensor(thresholds, np.float32),
        "nodes_truenodeids": true,
        "nodes_trueleafs": true_leaf,
        "nodes_falsenodeids": false,
        "nodes_falseleafs": false_leaf,
        "leaf_targetids": old["target_ids"],
        "leaf_weights": tensor(old["target_weights"], np.float32),
    }

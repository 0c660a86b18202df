"""Columns that a member never uses leave its backbone; the inputs and the spec hash stay."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from optimization.train.trained import Trained
from optimization.train.xgboost import BoostedResidual

_BY_COLUMN = ("backbone_mean", "backbone_scale", "backbone_coefficients")


def used_columns(member: Trained) -> NDArray[np.bool_]:
    """Which columns the backbone weighs or a tree splits, bool (F,)."""
    used = np.asarray(member.backbone.coefficients.any(axis=(1, 2)))
    if isinstance(member.fitted, BoostedResidual):
        for bags in member.fitted.boosters:
            for booster in bags:
                used[[int(name.removeprefix("f")) for name in booster.get_score()]] = True
    return used


def drop_columns(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let the backbone gather the columns that have a coefficient, if that is smaller; trees gather theirs anyway."""
    constants = {entry.name: entry for entry in model.graph.initializer}
    used = np.flatnonzero(numpy_helper.to_array(constants["backbone_coefficients"]).any(axis=1))
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for entry in out.graph.initializer:
        if entry.name in _BY_COLUMN:
            entry.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(entry)[used], entry.name))
    out.graph.initializer.append(numpy_helper.from_array(used.astype(np.int32), "backbone_used"))
    cast = next(node for node in out.graph.node if node.op_type == "Cast" and node.input[0] == "tabular")
    place = list(out.graph.node).index(cast)
    cast.input[0] = "backbone_gathered"
    gather = helper.make_node("Gather", ["tabular", "backbone_used"], ["backbone_gathered"], axis=1)
    out.graph.node.insert(place, gather)
    return out if out.ByteSize() < model.ByteSize() else model

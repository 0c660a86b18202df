"""A whole member as one ONNX graph: backbone, scaling and shrunk residual, features in, log-variance out."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from optimization.train.backbone import CLIP, Backbone
from predictors.members.onnx_member import OUTPUT

OPSET = 20
ML_OPSET = 3
IR_VERSION = 10
RESIDUAL = "residual"


def export_member(backbone: Backbone, residual: onnx.GraphProto | None, share: NDArray[np.float64]) -> bytes:
    """Serialise ``log_variance = backbone(tabular) + share * residual``.

    Parameters
    ----------
    backbone
        Computed in float64 inside the graph.
    residual
        Graph with some of the inputs ``tabular`` float32 (B, F) and ``sequence`` float32 (B, S, C)
        and the output ``residual`` float32 (B, H); ``None`` for the backbone alone. Its names
        must not begin with ``backbone_``.
    share
        float64 (H,): part of the residual that is kept.

    Returns
    -------
    The ONNX model; the same bytes for the same numbers.
    """
    columns, components, horizons = backbone.coefficients.shape
    constants = {
        "mean": backbone.mean,
        "scale": backbone.scale,
        "least": np.array(-CLIP),
        "most": np.array(CLIP),
        "coefficients": backbone.coefficients.reshape(columns, components * horizons),
        "intercept": backbone.intercept.reshape(-1),
        "lowest": backbone.lowest.reshape(-1),
        "highest": backbone.highest.reshape(-1),
        "shape": np.array([-1, components, horizons], np.int64),
        "axis": np.array([1], np.int64),
        "share": share,
    }
    chain: list[tuple[str, list[str], str, dict[str, int]]] = [
        ("Cast", ["tabular"], "x", {"to": TensorProto.DOUBLE}),
        ("Sub", ["x", "mean"], "centred", {}),
        ("Div", ["centred", "scale"], "wide", {}),
        ("Clip", ["wide", "least", "most"], "z", {}),
        ("MatMul", ["z", "coefficients"], "product", {}),
        ("Add", ["product", "intercept"], "free", {}),
        ("Max", ["free", "lowest"], "raised", {}),
        ("Min", ["raised", "highest"], "kept", {}),
        ("Reshape", ["kept", "shape"], "parts", {}),
        ("ReduceMean", ["parts", "axis"], "linear", {"keepdims": 0}),
    ]
    inputs = [helper.make_tensor_value_info("tabular", TensorProto.FLOAT, ["B", columns])]
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    if residual is not None:
        nodes.extend(residual.node)
        initializers.extend(residual.initializer)
        inputs.extend(entry for entry in residual.input if entry.name != "tabular")
        chain += [
            ("Cast", [RESIDUAL], "residual", {"to": TensorProto.DOUBLE}),
            ("Mul", ["residual", "share"], "kept_residual", {}),
            ("Add", ["linear", "kept_residual"], OUTPUT, {}),
        ]
    else:
        chain += [("Identity", ["linear"], OUTPUT, {})]
        del constants["share"]

    def own(name: str) -> str:
        return name if name in ("tabular", OUTPUT) else f"backbone_{name}"

    for index, (operator, arguments, result, attributes) in enumerate(chain):
        names = [RESIDUAL if operator == "Cast" and name == RESIDUAL else own(name) for name in arguments]
        nodes.append(helper.make_node(operator, names, [own(result)], name=f"backbone_{index}", **attributes))  # type: ignore[arg-type]  # attributes are keywords
    initializers.extend(numpy_helper.from_array(value, own(name)) for name, value in constants.items())
    graph = helper.make_graph(
        nodes,
        "wavecast",
        inputs,
        [helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, ["B", horizons])],
        initializers,
    )
    model = helper.make_model(
        graph,
        producer_name="wavecast",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))

"""Int8 weights, in two forms.

`int8_weights` keeps the weights of the residual network as int8 with a scale per channel, and the
arithmetic in float32: ONNX Runtime unfolds them once, at load. Only the file is smaller; an answer
does not depend on the CPU's int8 instructions or on the other windows of its batch.

`int8_dynamic` is ONNX Runtime's dynamic quantisation, which computes in int8. It scales the
activations by the range of the whole batch, so an answer depends on the windows beside it; and
with signed weights of full range it saturates on CPUs without VNNI, hence unsigned ones.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FEWEST_WEIGHTS = 128
"""Fewer are not worth the nodes that unfold them."""


def int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the float32 weights of MatMul and LSTM nodes as int8; float64 (the backbone) stays exact."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    channels: dict[str, int] = {}  # axis over which a weight's channel sums
    for node in out.graph.node:
        if node.op_type == "LSTM":
            channels |= dict.fromkeys(node.input[1:3], -1)
        elif node.op_type == "MatMul":
            channels[node.input[1]] = -2
    nodes, constants = [], []
    for entry in out.graph.initializer:
        if entry.name not in channels or entry.data_type != TensorProto.FLOAT or _size(entry) < FEWEST_WEIGHTS:
            constants.append(entry)
            continue
        whole, scale = _quantised(numpy_helper.to_array(entry), channels[entry.name])
        names = [f"{entry.name}_{part}" for part in ("int8", "scale", "float")]
        constants += [numpy_helper.from_array(whole, names[0]), numpy_helper.from_array(scale, names[1])]
        nodes += [
            helper.make_node("Cast", [names[0]], [names[2]], to=TensorProto.FLOAT),
            helper.make_node("Mul", [names[2], names[1]], [entry.name]),
        ]
    nodes += out.graph.node
    del out.graph.node[:], out.graph.initializer[:]
    out.graph.node.extend(nodes)
    out.graph.initializer.extend(constants)
    return out


def int8_dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let ONNX Runtime quantise all but the backbone."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    backbone = [node.name for node in model.graph.node if node.name.startswith("backbone_")]
    logger = logging.getLogger()
    level = logger.level
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        logger.setLevel(logging.ERROR)  # it advises pre-processing, which does nothing for these graphs
        try:
            quantize_dynamic(model, path, weight_type=QuantType.QUInt8, nodes_to_exclude=backbone)
        finally:
            logger.setLevel(level)
        return onnx.load(path)


def _size(entry: onnx.TensorProto) -> int:
    return int(np.prod(entry.dims))


def _quantised(weights: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric, by channel."""
    scale = np.abs(weights).max(axis=axis, keepdims=True) / np.float32(127.0)
    scale = np.where(scale > 0.0, scale, np.float32(1.0)).astype(np.float32)
    return np.rint(weights / scale).astype(np.int8), scale

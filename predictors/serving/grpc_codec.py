"""V2 over gRPC: raw and typed tensor contents, for servers and for the project's own clients.

Source: Open Inference Protocol, ``grpc_predict_v2.proto``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput
from predictors.serving.tensors import (
    DTYPES,
    Request,
    Response,
    Scalar,
    TensorSpec,
    check_complete,
    check_outputs,
    find_spec,
)

_CONTENTS = {"FP64": "fp64_contents", "FP32": "fp32_contents", "INT64": "int64_contents"}
_DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


def decode_request(message: Any, inputs: Mapping[str, TensorSpec], outputs: Sequence[TensorSpec]) -> Request:
    """Decode a ``ModelInferRequest``.

    Raises
    ------
    InvalidInput
        For anything that the protocol or the model does not allow, naming it.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidInput(f"raw_input_contents has {len(raw)} entries; {len(message.inputs)} tensors are declared")
    tensors: dict[str, NDArray[Any]] = {}
    for position, entry in enumerate(message.inputs):
        spec = find_spec(inputs, entry.name, tensors)
        shape = spec.check(entry.datatype, list(entry.shape))
        if not raw:
            tensors[spec.name] = _typed(spec, entry.contents, shape)
        elif entry.HasField("contents"):
            raise InvalidInput(f"tensor '{spec.name}' has both contents and raw_input_contents; give one of them")
        else:
            tensors[spec.name] = spec.from_buffer(raw[position], shape)
    check_complete(inputs, tensors)
    names = check_outputs([entry.name for entry in message.outputs], outputs)
    return Request(tensors, read_parameters(message.parameters), names, message.id)


def encode_response(
    response: Response, outputs: Sequence[TensorSpec], asked: Request, raw: bool, model: str, version: str
) -> Any:
    """A ``ModelInferResponse`` with the requested outputs, raw if the inputs were."""
    message = pb.ModelInferResponse(model_name=model, model_version=version, id=asked.id)
    write_parameters(message.parameters, response.parameters)
    for spec in outputs:
        if asked.outputs and spec.name not in asked.outputs:
            continue
        array = np.ascontiguousarray(response.tensors[spec.name], DTYPES[spec.datatype])
        entry = message.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        if raw:
            message.raw_output_contents.append(array.tobytes())
        else:
            getattr(entry.contents, _CONTENTS[spec.datatype]).extend(array.ravel().tolist())
    return message


def encode_request(
    model: str, tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Scalar], version: str = ""
) -> Any:
    """A ``ModelInferRequest`` with raw contents."""
    message = pb.ModelInferRequest(model_name=model, model_version=version)
    write_parameters(message.parameters, parameters)
    for name, array in tensors.items():
        message.inputs.add(name=name, datatype=_DATATYPES[array.dtype], shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    return message


def read_parameters(parameters: Any) -> dict[str, Scalar]:
    """Parameters of a message as Python scalars; an unset value is an empty text."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
        for name, value in parameters.items()
    }


def write_parameters(target: Any, parameters: Mapping[str, Scalar]) -> None:
    """Put Python scalars into a message; the protocol has no floats, they go as text."""
    for name, value in parameters.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            target[name].int64_param = value
        else:
            target[name].string_param = str(value)


def _typed(spec: TensorSpec, contents: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    field = _CONTENTS[spec.datatype]
    others = [used.name for used, _ in contents.ListFields() if used.name != field]
    if others:
        raise InvalidInput(f"tensor '{spec.name}' of {spec.datatype} has {others[0]}; expected {field}")
    values = getattr(contents, field)
    if len(values) != math.prod(shape):
        raise InvalidInput(
            f"tensor '{spec.name}' has {len(values)} elements; shape {list(shape)} needs {math.prod(shape)}"
        )
    return np.fromiter(values, DTYPES[spec.datatype], len(values)).reshape(shape)

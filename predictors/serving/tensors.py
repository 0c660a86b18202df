"""Declared V2 tensors, and the requests and responses that models see: arrays, never payloads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import InvalidInput, TooLarge, WavecastError

Scalar = bool | int | float | str

DTYPES: dict[str, np.dtype[Any]] = {"FP64": np.dtype("<f8"), "FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}
"""Datatypes of the models' tensors (Open Inference Protocol, "Tensor Data Types")."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A declared tensor.

    Attributes
    ----------
    name, datatype
        As on the wire.
    shape
        -1 where any size >= 1 is allowed; the first dimension is the batch.
    optional
        Whether a request may omit it.
    at_most
        Largest size served in each dimension; empty for no limit.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = False
    at_most: tuple[int, ...] = ()

    def check(self, datatype: object, shape: Sequence[object]) -> tuple[int, ...]:
        """The shape, if a tensor of this datatype and shape is what was declared.

        Raises
        ------
        InvalidInput
            Naming the tensor, the expected and the actual datatype or shape.
        TooLarge
            Above a limit.
        """
        if datatype != self.datatype:
            raise InvalidInput(f"tensor '{self.name}' has datatype {datatype!r}; expected '{self.datatype}'")
        sizes = tuple(size for size in shape if type(size) is int and size > 0)
        fits = len(sizes) == len(shape) == len(self.shape) and all(
            expected in (-1, size) for size, expected in zip(sizes, self.shape, strict=True)
        )
        if not fits:
            raise InvalidInput(
                f"tensor '{self.name}' has shape {list(shape)}; expected {list(self.shape)}, -1 for any size >= 1"
            )
        if any(size > most for size, most in zip(sizes, self.at_most, strict=False)):
            raise TooLarge(f"tensor '{self.name}' has shape {list(sizes)}; at most {list(self.at_most)} is served")
        return sizes

    def from_buffer(self, content: bytes | memoryview, shape: tuple[int, ...]) -> NDArray[Any]:
        """A tensor from its raw little-endian bytes, row-major.

        Raises
        ------
        InvalidInput
            If their number is not that of the shape.
        """
        dtype = DTYPES[self.datatype]
        expected = math.prod(shape) * dtype.itemsize
        if len(content) != expected:
            raise InvalidInput(
                f"tensor '{self.name}' has {len(content)} bytes; {self.datatype} {list(shape)} needs {expected}"
            )
        array = np.frombuffer(content, dtype).reshape(shape)
        return array if array.flags.aligned else array.copy()


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for, whatever the transport.

    Attributes
    ----------
    tensors
        By name, all declared ones that are not optional, checked and finite.
    parameters
        Of the request.
    outputs
        Names of the requested outputs; empty for all of them.
    id
        To be echoed; empty if none.
    """

    tensors: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What a model answers: tensors and response parameters."""

    tensors: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, Scalar] = field(default_factory=dict)


def check_complete(specs: Mapping[str, TensorSpec], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a request with missing tensors, unequal batches or non-finite values.

    Raises
    ------
    InvalidInput
        Naming the tensor, and the first bad element.
    """
    for name, spec in specs.items():
        if name not in tensors and not spec.optional:
            raise InvalidInput(f"tensor '{name}' is missing; expected {', '.join(specs)}")
    first: tuple[str, int] | None = None
    for name, array in tensors.items():
        if first is None:
            first = name, array.shape[0]
        elif array.shape[0] != first[1]:
            raise InvalidInput(f"tensor '{name}' has batch {array.shape[0]}; tensor '{first[0]}' has {first[1]}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            at = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
            raise InvalidInput(f"tensor '{name}' {at} = {array[tuple(at)]}; expected a finite number")


def find_spec(specs: Mapping[str, TensorSpec], name: object, seen: Mapping[str, object]) -> TensorSpec:
    """The declaration of an input.

    Raises
    ------
    InvalidInput
        If it is unknown or given twice.
    """
    if not isinstance(name, str) or name not in specs:
        raise InvalidInput(f"tensor {name!r} is unknown; expected {', '.join(specs)}")
    if name in seen:
        raise InvalidInput(f"tensor '{name}' is given twice")
    return specs[name]


def check_outputs(names: Sequence[object], known: Sequence[TensorSpec]) -> tuple[str, ...]:
    """The requested outputs.

    Raises
    ------
    InvalidInput
        If one is unknown or requested twice.
    """
    expected = [spec.name for spec in known]
    for position, name in enumerate(names):
        if name not in expected:
            raise InvalidInput(f"output {name!r} is unknown; expected {', '.join(expected)}")
        if name in names[:position]:
            raise InvalidInput(f"output {name!r} is requested twice")
    return tuple(str(name) for name in names)


def check_answer(response: Response, model: str) -> None:
    """Refuse to let a NaN or an infinity out.

    Raises
    ------
    WavecastError
        Naming the model and the tensor.
    """
    for name, array in response.tensors.items():
        if not np.isfinite(array).all():
            raise WavecastError(f"model '{model}' computed a non-finite '{name}'; no forecast is given")

"""V2 over REST: JSON and the binary tensor extension, both directions.

Source: Open Inference Protocol, "Inference Request JSON Object"; Triton's "Binary Data Extension".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson
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

HEADER_LENGTH = "inference-header-content-length"

_REQUEST_KEYS = {"id", "model_name", "model_version", "parameters", "inputs", "outputs"}
_INPUT_KEYS = {"name", "shape", "datatype", "parameters", "data"}
_OUTPUT_KEYS = {"name", "parameters"}
_MOST_KNOWN, _MOST_KNOWN_BYTES = 64, 4096
"""Headers of binary requests that are remembered as read."""
_PACKED = {"FP64": "d", "FP32": "f", "INT64": "q"}
"""Formats of `struct`."""
_JSON_TYPES = {str: "text", bool: "a boolean", type(None): "null", list: "a list", dict: "an object", float: "a float"}


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A decoded request, and which outputs are to be sent as binary."""

    request: Request
    binary: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Header:
    """The JSON of a request, checked against the model; tensors are arrays already, or follow as so many bytes."""

    tensors: tuple[tuple[TensorSpec, tuple[int, ...], NDArray[Any] | int], ...]
    parameters: Mapping[str, Scalar]
    outputs: tuple[str, ...]
    id: str
    binary: frozenset[str]


class RestDecoder:
    """Decodes the requests to one model."""

    def __init__(self, inputs: Mapping[str, TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        """Of a model with these tensors."""
        self._inputs, self._outputs = inputs, outputs
        self._read: dict[bytes, _Header] = {}

    def decode(self, body: bytes, header_length: str | None) -> RestRequest:
        """Decode a body.

        Parameters
        ----------
        body
            JSON, followed by binary tensors if ``header_length`` says so.
        header_length
            Value of the header ``Inference-Header-Content-Length``, if given.

        Raises
        ------
        InvalidInput
            For anything that the protocol or the model does not allow, naming it.
        """
        start, rest = _split(body, header_length)
        header = self._recall(start) if rest else self._read_header(start)
        tensors: dict[str, NDArray[Any]] = {}
        used = 0
        for spec, shape, content in header.tensors:
            if not isinstance(content, int):
                tensors[spec.name] = content
                continue
            if used + content > len(rest):
                raise InvalidInput(
                    f"tensor '{spec.name}' has binary_data_size {content}; {len(rest) - used} bytes follow the JSON"
                )
            tensors[spec.name] = spec.from_buffer(rest[used : used + content], shape)
            used += content
        if used != len(rest):
            raise InvalidInput(f"{len(rest) - used} bytes follow the last binary tensor; expected none")
        check_complete(self._inputs, tensors)
        return RestRequest(Request(tensors, header.parameters, header.outputs, header.id), header.binary)

    def _recall(self, header: bytes) -> _Header:
        """The same as `_read_header`: what goes before binary tensors is short, and often what went before others."""
        known = self._read.get(header)
        if known is None:
            known = self._read_header(header)
            if len(self._read) >= _MOST_KNOWN:
                self._read.clear()
            if len(header) <= _MOST_KNOWN_BYTES:
                self._read[header] = known
        return known

    def _read_header(self, header: bytes) -> _Header:
        try:
            content = orjson.loads(header)
        except orjson.JSONDecodeError as wrong:
            raise InvalidInput(f"the body is not JSON: {wrong}") from wrong
        _known("the request", content, _REQUEST_KEYS)
        identifier = content.get("id", "")
        if not isinstance(identifier, str):
            raise InvalidInput(f"'id' is {identifier!r}; expected text")

        only_numbers = _has_no_boolean(header)
        tensors: dict[str, tuple[TensorSpec, tuple[int, ...], NDArray[Any] | int]] = {}
        for entry in _entries(content, "inputs", _INPUT_KEYS):
            spec = find_spec(self._inputs, entry.get("name"), tensors)
            shape = entry.get("shape")
            if not isinstance(shape, list):
                raise InvalidInput(f"tensor '{spec.name}' has shape {shape!r}; expected a list of integers")
            sizes = spec.check(entry.get("datatype"), shape)
            size = _parameters(f"tensor '{spec.name}'", entry).get("binary_data_size")
            if ("data" in entry) == (size is not None):
                raise InvalidInput(f"tensor '{spec.name}' needs either 'data' or the parameter 'binary_data_size'")
            if size is None:
                tensors[spec.name] = spec, sizes, _from_json(spec, entry["data"], sizes, only_numbers)
            elif type(size) is not int or size < 0:
                raise InvalidInput(f"tensor '{spec.name}' has binary_data_size {size!r}; expected a number of bytes")
            else:
                tensors[spec.name] = spec, sizes, size

        parameters = _parameters("the request", content)
        requested = _entries(content, "outputs", _OUTPUT_KEYS) if "outputs" in content else []
        names = check_outputs([entry.get("name") for entry in requested], self._outputs)
        default = _flag("the request", parameters, "binary_data_output", False)
        flags = [_flag(f"output '{e['name']}'", _parameters("an output", e), "binary_data", default) for e in requested]
        binary = dict(zip(names, flags, strict=True)) if names else {spec.name: default for spec in self._outputs}
        told = frozenset(name for name, flag in binary.items() if flag)
        return _Header(tuple(tensors.values()), parameters, names, identifier, told)


def encode_response(
    response: Response, outputs: Sequence[TensorSpec], asked: RestRequest, model: str, version: str
) -> tuple[bytes, int | None]:
    """Encode a response with the requested outputs, in the model's order.

    Returns
    -------
    The body, and the length of its JSON part if binary tensors follow it.
    """
    entries: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for spec in outputs:
        if asked.request.outputs and spec.name not in asked.request.outputs:
            continue
        array = np.ascontiguousarray(response.tensors[spec.name], DTYPES[spec.datatype])
        entry: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": array.shape}
        if spec.name in asked.binary:
            entry["parameters"] = {"binary_data_size": array.nbytes}
            tail.append(array.tobytes())
        else:
            entry["data"] = array.reshape(-1)
        entries.append(entry)
    content: dict[str, Any] = {"model_name": model, "model_version": version}
    if asked.request.id:
        content["id"] = asked.request.id
    if response.parameters:
        content["parameters"] = response.parameters
    content["outputs"] = entries
    header = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([header, *tail]), len(header)) if tail else (header, None)


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    if header_length is None:
        return body, memoryview(b"")
    if not (header_length.isascii() and header_length.isdigit()) or int(header_length) > len(body):
        raise InvalidInput(
            f"header 'Inference-Header-Content-Length' is '{header_length}'; the body has {len(body)} bytes"
        )
    return body[: int(header_length)], memoryview(body)[int(header_length) :]


def _has_no_boolean(header: bytes) -> bool:
    """Whether no data can hold ``true`` or ``false``: no key is escaped, and no u and no l follows the first "data"."""
    data = header.find(b'"data"')
    return data >= 0 and b"\\" not in header and header.find(b"u", data) < 0 and header.find(b"l", data) < 0


def _known(what: str, content: object, keys: set[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InvalidInput(f"{what} is {_type_name(content)}; expected a JSON object")
    unknown = sorted(set(content) - keys)
    if unknown:
        raise InvalidInput(f"{what} has the unknown key '{unknown[0]}'; expected {', '.join(sorted(keys))}")
    return content


def _entries(content: dict[str, Any], key: str, keys: set[str]) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not entries:
        raise InvalidInput(f"'{key}' is {_type_name(entries)}; expected a list of at least one tensor")
    return [_known(f"entry {position} of '{key}'", entry, keys) for position, entry in enumerate(entries)]


def _parameters(what: str, content: dict[str, Any]) -> dict[str, Scalar]:
    parameters = content.get("parameters", {})
    if not isinstance(parameters, dict) or not {type(v) for v in parameters.values()} <= {bool, int, float, str}:
        raise InvalidInput(f"'parameters' of {what} must be an object of numbers, booleans and texts")
    return parameters


def _flag(what: str, parameters: Mapping[str, Scalar], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"parameter '{name}' of {what} is {value!r}; expected true or false")
    return value


def _from_json(spec: TensorSpec, data: object, shape: tuple[int, ...], only_numbers: bool) -> NDArray[Any]:
    """An array from flat or nested JSON numbers; nothing here runs Python code per element.

    ``only_numbers`` says that no boolean is among them: the fast way takes one for 0 or 1, and refuses all else.
    """
    if not isinstance(data, list):
        raise InvalidInput(f"tensor '{spec.name}' has data that is {_type_name(data)}; expected a list")
    flat = data
    if data and isinstance(data[0], list):
        for below in shape[1:]:
            if set(map(type, flat)) != {list} or set(map(len, flat)) != {below}:
                raise InvalidInput(f"tensor '{spec.name}' has nested data that does not match shape {list(shape)}")
            flat = list(chain.from_iterable(flat))
    if len(flat) != math.prod(shape):
        raise InvalidInput(
            f"tensor '{spec.name}' has {len(flat)} elements; shape {list(shape)} needs {math.prod(shape)}"
        )
    dtype = DTYPES[spec.datatype]
    if only_numbers:
        try:
            return np.frombuffer(struct.pack(f"<{len(flat)}{_PACKED[spec.datatype]}", *flat), dtype).reshape(shape)
        except (struct.error, OverflowError):
            pass  # what is wrong is found and named below
    allowed = {int} if dtype.kind == "i" else {int, float}
    if not set(map(type, flat)) <= allowed:
        at = next(i for i, value in enumerate(flat) if type(value) not in allowed)
        numbers = "integers" if dtype.kind == "i" else "numbers"
        raise InvalidInput(f"tensor '{spec.name}' element {at} is {_type_name(flat[at])}; expected JSON {numbers}")
    try:
        with np.errstate(over="ignore"):
            return np.array(flat, dtype).reshape(shape)
    except OverflowError as wrong:
        raise InvalidInput(f"tensor '{spec.name}' has an element beyond the range of {spec.datatype}") from wrong


def _type_name(value: object) -> str:
    return _JSON_TYPES.get(type(value), "missing" if value is None else f"{value!r}")

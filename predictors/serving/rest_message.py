"""V2 over REST between the processes of a graph: binary tensors both ways, and nothing that is not needed.

Source: Open Inference Protocol; Triton's "Binary Data Extension".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from predictors.core.errors import DeadlineExceeded, InvalidInput, NotFound, NotReady, TooLarge, WavecastError
from predictors.serving.tensors import DTYPES, Response, Scalar

_DATATYPES = {dtype: name for name, dtype in DTYPES.items()}
_ERRORS: dict[int, type[WavecastError]] = {
    error.http_status: error for error in (DeadlineExceeded, InvalidInput, NotFound, NotReady, TooLarge)
}


@dataclass(frozen=True, slots=True)
class Message:
    """A request without its path: the headers that describe the body, as they are sent, and the body."""

    headers: bytes
    body: bytes


def encode_request(tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Scalar]) -> Message:
    """A request for all outputs of a model."""
    inputs = [
        {
            "name": name,
            "datatype": _DATATYPES[array.dtype],
            "shape": array.shape,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in tensors.items()
    ]
    header = orjson.dumps({"parameters": {**parameters, "binary_data_output": True}, "inputs": inputs})
    body = b"".join([header, *(array.tobytes() for array in tensors.values())])
    return Message(
        b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\ncontent-length: %d\r\n"
        % (len(header), len(body)),
        body,
    )


def decode_response(status: int, header_length: bytes | None, body: bytes) -> Response:
    """The tensors and parameters of an answer.

    Raises
    ------
    WavecastError
        The class that matches the status, with the server's message; or if it is no V2 answer with binary tensors.
    """
    try:
        if status != 200:
            raise _ERRORS.get(status, WavecastError)(str(orjson.loads(body)["error"]))
        start = int(header_length or b"")
        content = orjson.loads(body[:start])
        tensors = {}
        for entry in content["outputs"]:
            end = start + entry["parameters"]["binary_data_size"]
            values = np.frombuffer(body[start:end], DTYPES[entry["datatype"]])
            tensors[entry["name"]] = values.reshape(entry["shape"])
            start = end
        return Response(tensors, content.get("parameters", {}))
    except (KeyError, ValueError, TypeError, AttributeError) as wrong:
        raise WavecastError(f"the answer with status {status} is not a V2 answer with binary tensors") from wrong

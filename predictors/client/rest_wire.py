"""V2 REST with binary tensors, from the client's side (the standard library's JSON is enough for it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    TooLarge,
    WavecastError,
)

PATH = "/v2/models/wavecast/infer"

_HEADER_LENGTH = "inference-header-content-length"
_DATATYPES = {"float64": "FP64", "int64": "INT64"}
_DTYPES = {"FP64": "<f8"}
_ERRORS: dict[int, type[WavecastError]] = {
    error.http_status: error for error in (InvalidInput, NotFound, TooLarge, NotReady, DeadlineExceeded)
}


def encode(tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request."""
    inputs = [
        {
            "name": name,
            "datatype": _DATATYPES[array.dtype.name],
            "shape": array.shape,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in tensors.items()
    ]
    header = json.dumps({"inputs": inputs, "parameters": {**parameters, "binary_data_output": True}}).encode()
    body = b"".join([header, *(array.tobytes() for array in tensors.values())])
    return body, {"content-type": "application/octet-stream", _HEADER_LENGTH: str(len(header))}


def decode(response: httpx.Response) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Tensors and parameters of a response.

    Raises
    ------
    WavecastError
        The class that matches the status, with the server's message.
    """
    if not response.is_success:
        try:
            message = response.json()["error"]
        except (ValueError, KeyError, TypeError):
            message = f"{response.url} answered {response.status_code}"
        raise _ERRORS.get(response.status_code, WavecastError)(message)
    length = int(response.headers[_HEADER_LENGTH])
    content = json.loads(response.content[:length])
    tensors, start = {}, length
    for entry in content["outputs"]:
        end = start + entry["parameters"]["binary_data_size"]
        raw = response.content[start:end]
        tensors[entry["name"]] = np.frombuffer(raw, _DTYPES[entry["datatype"]]).reshape(entry["shape"])
        start = end
    return tensors, content["parameters"]

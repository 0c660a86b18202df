"""V2 REST from the client's side, JSON and binary tensors (the standard library's JSON is enough for it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    NotFound,
    NotReady,
    RateLimited,
    TooLarge,
    Unauthenticated,
    WavecastError,
)

PATH = "/v2/models/wavecast/infer"
HEADER_LENGTH = "inference-header-content-length"

_DATATYPES = {"float64": "FP64", "int64": "INT64"}
_DTYPES = {"FP64": "<f8"}
_ERRORS: dict[int, type[WavecastError]] = {
    error.http_status: error
    for error in (InvalidInput, Unauthenticated, Forbidden, NotFound, TooLarge, NotReady, DeadlineExceeded)
}
_RETRY_AFTER_S = 1.0


def encode(
    tensors: Mapping[str, NDArray[Any]], parameters: Mapping[str, Any], binary: bool = True
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request, with binary tensors both ways or as JSON both ways."""
    entries: list[dict[str, Any]] = [
        {"name": name, "datatype": _DATATYPES[array.dtype.name], "shape": array.shape}
        for name, array in tensors.items()
    ]
    if not binary:
        for entry, array in zip(entries, tensors.values(), strict=True):
            entry["data"] = array.ravel().tolist()
        return json.dumps({"inputs": entries, "parameters": parameters}).encode(), {"content-type": "application/json"}
    for entry, array in zip(entries, tensors.values(), strict=True):
        entry["parameters"] = {"binary_data_size": array.nbytes}
    header = json.dumps({"inputs": entries, "parameters": {**parameters, "binary_data_output": True}}).encode()
    body = b"".join([header, *(array.tobytes() for array in tensors.values())])
    return body, {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(header))}


def decode(response: httpx.Response) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Tensors and parameters of a response.

    Raises
    ------
    WavecastError
        The class that matches the status, with the server's message; or if this is no V2 response.
    """
    if not response.is_success:
        raise _refusal(response)
    return decode_body(response.content, response.headers.get(HEADER_LENGTH))


def decode_body(content: bytes, header_length: str | None) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Tensors and parameters of a body.

    Parameters
    ----------
    content
        JSON, followed by binary tensors if ``header_length`` says so.
    header_length
        Value of the header ``Inference-Header-Content-Length``, if given.

    Raises
    ------
    WavecastError
        If this is no V2 response.
    """
    try:
        start = len(content) if header_length is None else int(header_length)
        answer = json.loads(content[:start])
        tensors = {}
        for entry in answer["outputs"]:
            dtype = np.dtype(_DTYPES[entry["datatype"]])
            if "data" in entry:
                array = np.array(entry["data"], dtype)
            else:
                end = start + entry["parameters"]["binary_data_size"]
                array = np.frombuffer(content[start:end], dtype)
                start = end
            tensors[entry["name"]] = array.reshape(entry["shape"])
        return tensors, answer["parameters"]
    except (ValueError, KeyError, TypeError, IndexError) as wrong:
        beginning = content[:60].decode(errors="replace")
        raise WavecastError(f"the answer is no V2 response ({wrong!r}); it begins with {beginning!r}") from wrong


def _refusal(response: httpx.Response) -> WavecastError:
    status = response.status_code
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = f"{response.url} answered {status}"
    if status == RateLimited.http_status:
        after = response.headers.get("retry-after", "")
        return RateLimited(message, float(after) if after.isdigit() else _RETRY_AFTER_S)
    return _ERRORS.get(status, WavecastError)(message)

"""What the servers are asked: real windows of the release, encoded in every way, with the offline answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.members.onnx_member import OUTPUT, OnnxMember
from predictors.router.combine import combine
from predictors.serving.grpc_codec import encode_request
from predictors.store import Release
from predictors.wavelet.features import compute_features
from predictors.wavelet.spec import FeatureSpec

Arrays = Mapping[str, NDArray[Any]]

_ID = "bench"  # the stock SDK answers 500 to a request without one, unless the model makes one up
_DATATYPES = {"float64": "FP64", "float32": "FP32"}


@dataclass(frozen=True, slots=True)
class Question:
    """One request and its right answer.

    Attributes
    ----------
    model
        Whom it is for.
    json, binary, grpc
        The request as a REST body, as a REST body with binary tensors both ways, and as a gRPC message.
    header_length
        Of the JSON part of ``binary``.
    expected
        Outputs of the offline path by name.
    """

    model: str
    json: bytes
    binary: bytes
    header_length: int
    grpc: bytes
    expected: Arrays


def forecast_question(release: Release, windows: int) -> Question:
    """The public model, asked for ``windows`` of the release's golden windows (repeated if there are fewer)."""
    golden: NDArray[np.float64] = release.golden["bars"]
    bars = np.ascontiguousarray(np.resize(golden, (windows, *golden.shape[1:])))
    block = compute_features(bars, FeatureSpec.from_json(release.manifest.spec))
    answers = {
        kind: OnnxMember(member.model).log_variance(block.tabular, block.sequence)
        for kind, member in release.members.items()
    }
    forecast = combine(answers, release.manifest)
    outputs = {name: getattr(forecast, name) for name in ("variance", "log_variance", "quantiles")}
    return _question("wavecast", {"bars": bars}, {}, outputs)


def member_question(release: Release, kind: str) -> Question:
    """One member, asked for the features of one golden window."""
    block = compute_features(release.golden["bars"][:1], FeatureSpec.from_json(release.manifest.spec))
    answer = OnnxMember(release.members[kind].model).log_variance(block.tabular, block.sequence)
    inputs = {"tabular": block.tabular, "sequence": block.sequence}
    return _question(kind, inputs, {"spec": block.spec_hash}, {OUTPUT: answer})


def _question(model: str, inputs: Arrays, parameters: Mapping[str, str], expected: Arrays) -> Question:
    plain, sized = [], []
    for name, array in inputs.items():
        entry = {"name": name, "datatype": _DATATYPES[array.dtype.name], "shape": list(array.shape)}
        plain.append({**entry, "data": array.ravel().tolist()})
        sized.append({**entry, "parameters": {"binary_data_size": array.nbytes}})
    asked = {"id": _ID, "parameters": {**parameters, "binary_data_output": True}, "inputs": sized}
    header = json.dumps(asked, separators=(",", ":")).encode()
    message = encode_request(model, inputs, parameters)
    message.id = _ID
    return Question(
        model,
        json.dumps({"id": _ID, "parameters": parameters, "inputs": plain}, separators=(",", ":")).encode(),
        b"".join([header, *(array.tobytes() for array in inputs.values())]),
        len(header),
        message.SerializeToString(),
        expected,
    )

"""One way to ask one server, and the check of its answer that comes before any timing."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from numpy.typing import NDArray

from bench.questions import Question

INFER = "/inference.GRPCInferenceService/ModelInfer"
JSON_TYPE, BINARY_TYPE = "application/json", "application/octet-stream"

_RTOL = 1e-6
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server and a transport.

    Attributes
    ----------
    server, transport
        Names, for the report.
    address
        ``host:port`` of that transport.
    question
        What it is asked.
    """

    server: str
    transport: Literal["json", "binary", "grpc"]
    address: str
    question: Question

    @property
    def name(self) -> str:
        """Unique in a run."""
        return f"{self.server}/{self.transport}"

    @property
    def url(self) -> str:
        """Where requests are posted."""
        path = INFER if self.transport == "grpc" else f"/v2/models/{self.question.model}/infer"
        return f"http://{self.address}{path}"

    @property
    def body(self) -> bytes:
        """What is posted; over gRPC with its frame (one byte for no compression, four for the length)."""
        if self.transport == "grpc":
            message = self.question.grpc
            return b"\0" + len(message).to_bytes(4, "big") + message
        return self.question.json if self.transport == "json" else self.question.binary

    @property
    def headers(self) -> dict[str, str]:
        """REST headers."""
        if self.transport == "json":
            return {"Content-Type": JSON_TYPE}
        length = str(self.question.header_length)
        return {"Content-Type": BINARY_TYPE, "Inference-Header-Content-Length": length}

    def ask(self) -> bytes:
        """The answer's body; over gRPC the message without its frame."""
        if self.transport == "grpc":
            with grpc.insecure_channel(self.address) as channel:
                return bytes(channel.unary_unary(INFER)(self.question.grpc, timeout=_TIMEOUT_S))
        request = urllib.request.Request(self.url, self.body, self.headers)  # noqa: S310 - http only
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                content: bytes = answer.read()
                length = answer.headers.get("Inference-Header-Content-Length")
        except urllib.error.HTTPError as wrong:
            raise AssertionError(f"{self.name} answered {wrong.code}: {wrong.read(1000)!r}") from wrong
        assert (length is not None) == (self.transport == "binary"), f"{self.name} answered in another encoding"
        return content

    def check(self) -> int:
        """Ask once and compare with the offline answer; the length of the answer in bytes.

        Raises
        ------
        AssertionError
            Naming the server and the output that differs.
        """
        content = self.ask()
        outputs = _from_grpc(content) if self.transport == "grpc" else _from_rest(content)
        expected = self.question.expected
        assert outputs.keys() == expected.keys(), f"{self.name} answered {sorted(outputs)}"
        for output, array in expected.items():
            same = outputs[output].shape == array.shape and np.allclose(outputs[output], array, rtol=_RTOL, atol=0.0)
            assert same, f"{self.name}: '{output}' is not the offline answer"
        return len(content)


def _from_rest(content: bytes) -> dict[str, NDArray[Any]]:
    header, end = json.JSONDecoder().raw_decode(content.decode("latin-1"))
    outputs = {}
    for entry in header["outputs"]:
        if "data" in entry:
            array = np.array(entry["data"], np.float64)
        else:
            start, end = end, end + entry["parameters"]["binary_data_size"]
            array = np.frombuffer(content[start:end], "<f8")
        outputs[entry["name"]] = array.reshape(entry["shape"])
    return outputs


def _from_grpc(content: bytes) -> Mapping[str, NDArray[Any]]:
    message = pb.ModelInferResponse.FromString(content)
    raw = list(message.raw_output_contents) or [None] * len(message.outputs)
    return {
        entry.name: (
            np.frombuffer(part, "<f8") if part is not None else np.array(entry.contents.fp64_contents)
        ).reshape(tuple(entry.shape))
        for entry, part in zip(message.outputs, raw, strict=True)
    }

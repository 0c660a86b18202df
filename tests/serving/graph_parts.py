"""A graph put together by hand, to break and replace its parts: two real members and a treacherous one."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)
from running_server import Published, Served

START_S = 120.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Part:
    """One process of the graph, on ports that it keeps when it is started again."""

    module: str
    flags: tuple[str, ...]
    log: Path
    http_port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def served(self) -> Served:
        assert self.process is not None
        return Served(self.process, f"http://127.0.0.1:{self.http_port}", self.address, self.log)

    def start(self) -> None:
        ports = ("--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port))
        with self.log.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.flags, *ports], stderr=errors, text=True
            )

    def wait_ready(self, model: str) -> None:
        """Wait until the process says that its model is ready."""
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(f"{self.served.http}/v2/models/{model}/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"{self.module} is not ready: {self.log.read_text()}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)


class Traitor(GRPCInferenceServiceServicer):  # type: ignore[misc]  # kserve ships no types
    """A member that answers well, or as ``mode`` says; it counts its calls and notes the time that they leave."""

    def __init__(self, published: Published, kind: str) -> None:
        self.mode = "well"
        self.calls = 0
        self.left_s = 0.0
        self._member = published.members[kind]
        self._server = grpc.server(ThreadPoolExecutor(16))
        add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0)

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - a name of the protocol
        return pb.ModelReadyResponse(ready=True)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        self.left_s = context.time_remaining()
        mode = self.mode
        if mode == "hung":
            time.sleep(3.0)
        if mode == "error":
            context.abort(grpc.StatusCode.INTERNAL, "broken")
        if mode == "unavailable":
            context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
        tabular, sequence = (
            np.frombuffer(raw, "<f4").reshape(tuple(entry.shape))
            for raw, entry in zip(request.raw_input_contents, request.inputs, strict=True)
        )
        answer = self._member.log_variance(tabular, sequence)
        if mode == "not a number":
            answer = answer * np.nan
        if mode == "other shape":
            answer = answer[:, :1]
        if mode == "narrow":
            answer = answer.astype(np.float32)
        spec = request.parameters["spec"].string_param
        message = pb.ModelInferResponse(model_name=request.model_name)
        message.parameters["spec"].string_param = "0" * 64 if mode == "other spec" else spec
        datatype = {"narrow": "FP32", "unknown datatype": "BF16"}.get(mode, "FP64")
        shape = (7, 7) if mode == "lying shape" else answer.shape
        name = "price" if mode == "other tensor" else "log_variance"
        message.outputs.add(name=name, datatype=datatype, shape=shape)
        if mode != "no contents":
            message.raw_output_contents.append(answer.tobytes())
        return message


GARBAGE = (
    *("error", "unavailable", "not a number", "other shape", "narrow", "other spec"),
    *("unknown datatype", "lying shape", "other tensor", "no contents"),
)


class Graph:
    """wavelet -> router -> lstm, transformer (processes) and xgboost (the traitor)."""

    def __init__(self, published: Published, folder: Path) -> None:
        self.published = published
        store, release = published.store, published.manifest
        self.traitor = Traitor(published, "xgboost")
        self.members = {
            kind: Part(
                f"predictors.members.{kind}",
                ("--model-dir", str(store / "models" / kind / release.members[kind])),
                folder / kind,
            )
            for kind in ("lstm", "transformer")
        }
        addresses = {kind: part.address for kind, part in self.members.items()} | {"xgboost": self.traitor.address}
        manifest = ("--model-dir", str(store / "releases" / release.release))
        flags = ("--members", ",".join(f"{k}={a}" for k, a in addresses.items()), "--members-wait-s", "2")
        self.router = Part("predictors.router", (*manifest, *flags), folder / "router")
        self.wavelet = Part(
            "predictors.wavelet", (*manifest, "--predictor-host", self.router.address), folder / "wavelet"
        )

    @property
    def parts(self) -> list[Part]:
        return [*self.members.values(), self.router, self.wavelet]

    def start(self) -> None:
        for part in self.parts:
            part.start()
        for kind, part in self.members.items():
            part.wait_ready(kind)
        self.wavelet.wait_ready("wavecast")

    def stop(self) -> None:
        for part in self.parts:
            if part.process is not None:
                part.kill()
        self.traitor.stop()

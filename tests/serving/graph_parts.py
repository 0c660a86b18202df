"""A graph put together by hand, to break and replace its parts: two real members and a treacherous one."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from running_server import Published, Served

from predictors.core.ports import held_ports

START_S = 120.0


_HELD = ExitStack()
atexit.register(_HELD.close)


def free_port() -> int:
    """A port that is nobody else's for the rest of the tests, whether something listens on it or not."""
    return _HELD.enter_context(held_ports(1))[0]


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
        """Of its REST server, which the rest of the graph asks."""
        return f"127.0.0.1:{self.http_port}"

    @property
    def served(self) -> Served:
        assert self.process is not None
        return Served(self.process, f"http://{self.address}", f"127.0.0.1:{self.grpc_port}", self.log)

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


class _Answers(BaseHTTPRequestHandler):
    """The traitor's side of a connection."""

    protocol_version = "HTTP/1.1"
    traitor: Traitor

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._send(200, b"{}", 0)

    def do_POST(self) -> None:
        length = int(self.headers["inference-header-content-length"])
        body = self.rfile.read(int(self.headers["content-length"]))
        status, content, header_length = self.traitor.answer(json.loads(body[:length]), body[length:])
        if self.traitor.mode == "no HTTP":
            self.wfile.write(b"\x00" * 100)
        elif self.traitor.mode == "cut off":
            self._send(status, content, header_length, more=10)
            self.close_connection = True
        else:
            self._send(status, content, header_length)

    def _send(self, status: int, content: bytes, header_length: int, more: int = 0) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content) + more))
        if header_length:
            self.send_header("Inference-Header-Content-Length", str(header_length))
        self.end_headers()
        self.wfile.write(content)


class Traitor:
    """A member that answers well, or as ``mode`` says; it counts its calls and notes the time that they leave."""

    def __init__(self, published: Published, kind: str) -> None:
        self.mode = "well"
        self.calls = 0
        self.left_s = 0.0
        self._member = published.members[kind]
        handler = type("Handler", (_Answers,), {"traitor": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, asked: dict[str, Any], tail: bytes) -> tuple[int, bytes, int]:
        """Status, body and length of its JSON part, of a request with these JSON and binary parts."""
        self.calls += 1
        self.left_s = asked["parameters"]["timeout"] / 1e6
        mode = self.mode
        if mode == "hung":
            time.sleep(3.0)
        if mode in ("error", "unavailable"):
            return {"error": 500, "unavailable": 503}[mode], b'{"error": "broken"}', 0
        if mode == "no error":
            return 500, b"<html>", 0
        tensors, used = [], 0
        for entry in asked["inputs"]:
            size = entry["parameters"]["binary_data_size"]
            tensors.append(np.frombuffer(tail[used : used + size], "<f4").reshape(entry["shape"]))
            used += size
        answer = self._member.log_variance(*tensors)
        if mode == "not a number":
            answer = answer * np.nan
        if mode == "other shape":
            answer = answer[:, :1]
        if mode == "narrow":
            answer = answer.astype(np.float32)
        output = {
            "name": "price" if mode == "other tensor" else "log_variance",
            "datatype": {"narrow": "FP32", "unknown datatype": "BF16"}.get(mode, "FP64"),
            "shape": [7, 7] if mode == "lying shape" else answer.shape,
            "parameters": {"binary_data_size": answer.nbytes},
        }
        spec = "0" * 64 if mode == "other spec" else asked["parameters"]["spec"]
        header = json.dumps({"parameters": {"spec": spec}, "outputs": [output]}).encode()
        content = header if mode == "no contents" else header + answer.tobytes()
        return 200, content, len(header) + 3 * (mode == "lying length")


GARBAGE = (
    *("error", "no error", "unavailable", "not a number", "other shape", "narrow", "other spec", "other tensor"),
    *("unknown datatype", "lying shape", "lying length", "no contents", "no HTTP", "cut off"),
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

"""A V2 server that answers right, except where a test says otherwise."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from predictors.serving.rest_codec import HEADER_LENGTH, RestDecoder, encode_response
from predictors.serving.tensors import Response, TensorSpec

INFER = "/v2/models/wavecast/infer"
RELEASE = "0123456789ab"
INPUTS = {
    "bars": TensorSpec("bars", "FP64", (-1, -1, 5)),
    "timestamps": TensorSpec("timestamps", "INT64", (-1, -1), optional=True),
}
OUTPUTS = (
    TensorSpec("variance", "FP64", (-1, 2)),
    TensorSpec("log_variance", "FP64", (-1, 2)),
    TensorSpec("quantiles", "FP64", (-1, 2, 3)),
)


@dataclass(frozen=True)
class Reply:
    """What is sent; a forecast is encoded late, so that it can be changed before."""

    status: int = 200
    content: Any = None
    forecast: Response | None = None
    binary: bool = False


@dataclass(frozen=True)
class Asked:
    """A request: how many forecasts were asked for before it, its path and its headers."""

    number: int
    path: str
    headers: dict[str, str]


Change = Callable[[Asked, Reply], Awaitable[Reply | bytes | None]]
"""From the right reply to what is sent: another one, raw bytes, or ``None`` to close the connection."""


async def behave(asked: Asked, right: Reply) -> Reply:
    """No change."""
    return right


def altered(right: Reply, parameters: dict[str, Any] | None = None, **tensors: Any) -> Reply:
    """The same reply with another forecast; tensors are functions of the right ones."""
    assert right.forecast is not None
    changed = {name: tensors.get(name, lambda same: same)(array) for name, array in right.forecast.tensors.items()}
    return replace(right, forecast=Response(changed, {**right.forecast.parameters, **(parameters or {})}))


@dataclass
class MisbehavingServer:
    """Use it as a context manager; it serves from a thread."""

    change: Change = behave
    tls: ssl.SSLContext | None = None
    url: str = ""
    forecasts: int = 0
    connections: int = 0
    asked: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls, limit=2**24)
        )
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{port}"
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                line, *fields = head.split("\r\n")[:-2]
                headers = {name.lower(): value for name, value in (entry.split(": ", 1) for entry in fields)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path = line.split(" ")[1]
                asked = Asked(self.forecasts, path, headers)
                if path == INFER:
                    self.forecasts += 1
                    self.asked.set()
                sent = await self.change(asked, _right(path, headers, body))
                if sent is None:
                    break
                writer.write(_encode(sent, headers, body) if isinstance(sent, Reply) else sent)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away
        finally:
            writer.transport.abort()


def right_forecast(bars: NDArray[np.float64]) -> Response:
    """A forecast that breaks no rule; it depends on nothing but its own window."""
    variance = 1e-8 * bars[:, -1, [3, 0]]
    tensors = {
        "variance": variance,
        "log_variance": np.log(variance),
        "quantiles": variance[..., None] * np.array([0.5, 1.0, 2.0]),
    }
    facts = {"release": RELEASE, "horizons": "1,5", "quantile_levels": "0.05,0.5,0.95"}
    return Response(tensors, {**facts, "members": "lstm:0.4,xgboost:0.6", "degraded": False})


def _right(path: str, headers: dict[str, str], body: bytes) -> Reply:
    if path == INFER:
        bars = RestDecoder(INPUTS, OUTPUTS).decode(body, headers.get(HEADER_LENGTH)).request.tensors["bars"]
        if (bars[..., 2] > bars[..., 1]).any():
            return Reply(400, {"error": "tensor 'bars' [0, 127] low must be <= open and close"})
        return Reply(forecast=right_forecast(bars), binary=headers["content-type"] != "application/json")
    model = {
        "name": "wavecast",
        "versions": [RELEASE],
        "inputs": [{"name": "bars", "datatype": "FP64", "shape": [-1, -1, 5]}],
        "outputs": [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in OUTPUTS],
        "parameters": {"release": RELEASE, "horizons": "1,5", "window_bars": 128},
    }
    known = {
        "/v2": {"name": "wavecast", "version": "0", "extensions": ["binary_tensor_data"]},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/wavecast": model,
        "/v2/models/wavecast/ready": {"name": "wavecast", "ready": True},
        f"/v2/models/wavecast/versions/{RELEASE}": model,
        "/metrics": '# TYPE requests counter\nrequests{model="wavecast"} 1\n',
    }
    return Reply(200, known[path]) if path in known else Reply(404, {"error": f"there is no {path}"})


def _encode(reply: Reply, headers: dict[str, str], body: bytes) -> bytes:
    fields = {}
    if reply.forecast is None or reply.status != 200:
        content = reply.content.encode() if isinstance(reply.content, str) else json.dumps(reply.content).encode()
    else:
        asked = RestDecoder(INPUTS, OUTPUTS).decode(body, headers.get(HEADER_LENGTH))
        content, length = encode_response(reply.forecast, OUTPUTS, asked, "wavecast", RELEASE)
        if length is not None:
            fields[HEADER_LENGTH] = str(length)
    fields["content-length"] = str(len(content))
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {reply.status} X\r\n{head}\r\n".encode() + content

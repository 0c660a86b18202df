"""V2 REST routes on the SDK's application.

They replace the SDK's own, which parse a body twice in pure Python, answer 422 to malformed JSON,
501 to a version, 200 to the health of a server that is not ready, and put class names into errors.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus

import orjson
import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY, exposition
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from predictors.core.errors import (
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    NotReady,
    TooLarge,
    UnsupportedMediaType,
    WavecastError,
)
from predictors.serving.registry import Registry
from predictors.serving.rest_codec import HEADER_LENGTH, RestRequest, decode_request, encode_response
from predictors.serving.work import Worker

_JSON = "application/json"
_BINARY = "application/octet-stream"
_WINDOW_BYTES = 16 * 1024
"""About one window of 128 bars as JSON: how many windows' worth of work a body is."""

_log = structlog.get_logger()
_Endpoint = Callable[[Request], Awaitable[Response]]


def add_routes(app: FastAPI, registry: Registry, worker: Worker, max_bytes: int) -> None:
    """Give the application its V2 routes, health, metrics and JSON errors."""

    async def alive(_: Request) -> Response:
        return _json({"status": "alive"})

    async def metrics(request: Request) -> Response:
        encode, media_type = exposition.choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), media_type=media_type)

    async def server(_: Request) -> Response:
        return _json(registry.server())

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        missing = await registry.not_ready()
        if missing:
            raise NotReady(f"not ready: {', '.join(missing)}")
        return _json({"ready": True})

    async def models(_: Request) -> Response:
        return _json({"models": sorted(registry.models)})

    async def model(request: Request) -> Response:
        found = registry.find(**request.path_params)
        return _json(
            {
                "name": found.name,
                "versions": [found.version],
                "platform": found.platform,
                "inputs": found.get_input_types(),
                "outputs": found.get_output_types(),
                "parameters": found.facts,
            }
        )

    async def model_ready(request: Request) -> Response:
        found = registry.find(**request.path_params)
        if not await found.healthy():
            raise NotReady(f"model '{found.name}' is not ready")
        return _json({"name": found.name, "ready": True})

    async def infer(request: Request) -> Response:
        started = time.perf_counter()
        name = request.path_params["model"]
        asked: RestRequest | None = None
        error: WavecastError | None = None
        try:
            found = registry.find(**request.path_params)
            header_length = _check_headers(request, max_bytes)
            body = await _read(request, max_bytes)
            decode = partial(decode_request, body, header_length, found.inputs, found.outputs)
            asked = await worker.run(len(body) // _WINDOW_BYTES, decode)
            answer = await found.answer(asked.request)
            encode = partial(encode_response, answer, found.outputs, asked, name, found.version)
            content, length = await worker.run(len(body) // _WINDOW_BYTES, encode)
            if length is None:
                return Response(content, media_type=_JSON)
            return Response(content, media_type=_BINARY, headers={HEADER_LENGTH: str(length)})
        except WavecastError as wrong:
            error = wrong
            raise
        finally:
            registry.log("rest", name, started, asked.request if asked else None, error)

    app.router.redirect_slashes = False
    versioned = "/v2/models/{model}/versions/{version}"
    for method, path, endpoint in (
        ("GET", "/", alive),
        ("GET", "/metrics", metrics),
        ("GET", "/v2", server),
        ("GET", "/v2/health/live", live),
        ("GET", "/v2/health/ready", ready),
        ("GET", "/v2/models", models),
        ("GET", "/v2/models/{model}", model),
        ("GET", versioned, model),
        ("GET", "/v2/models/{model}/ready", model_ready),
        ("GET", versioned + "/ready", model_ready),
        ("POST", "/v2/models/{model}/infer", infer),
        ("POST", versioned + "/infer", infer),
    ):
        app.router.routes.append(Route(path, _answering(endpoint), methods=[method]))
    app.add_exception_handler(HTTPException, _http_error)


def _answering(endpoint: _Endpoint) -> _Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except WavecastError as wrong:
            return _error(wrong)
        except ClientDisconnect:
            return _error(InvalidInput("the client went away before the body was complete"))
        except Exception as wrong:  # noqa: BLE001 - no detail of a defect leaves the process
            _log.exception("request broke", path=request.url.path, exc_info=wrong)
            return _error(WavecastError("internal error; the server's log has the details"))

    return answer


async def _http_error(request: Request, wrong: Exception) -> Response:
    assert isinstance(wrong, HTTPException)
    path = request.url.path
    if wrong.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (wrong.headers or {}).get("Allow", "")
        answer = _error(MethodNotAllowed(f"{path} does not take {request.method}; it takes {allowed}"))
        answer.headers["allow"] = allowed
        return answer
    if wrong.status_code == HTTPStatus.NOT_FOUND:
        return _error(NotFound(f"there is no route {path}; the server answers below /v2, /metrics and /"))
    return _json({"error": str(wrong.detail)}, wrong.status_code)


def _check_headers(request: Request, max_bytes: int) -> str | None:
    """Refuse what will not be read before it is sent; the length of the JSON part, if given."""
    headers = request.headers
    header_length = headers.get(HEADER_LENGTH)
    media_type, _, parameters = headers.get("content-type", _JSON).partition(";")
    if media_type.strip().lower() not in (_JSON, _BINARY):
        raise UnsupportedMediaType(f"content type '{media_type}' is not understood; send {_JSON} or {_BINARY}")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8"):
        raise UnsupportedMediaType(f"content type parameter '{parameters.strip()}' is not understood; send UTF-8")
    if media_type.strip().lower() == _BINARY and header_length is None:
        raise InvalidInput("header 'Inference-Header-Content-Length' is missing; binary bodies begin with JSON")
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMediaType(f"content encoding '{encoding}' is not understood; send the body uncompressed")
    length = headers.get("content-length", "0")
    if int(length) > max_bytes:
        raise TooLarge(f"the body has {length} bytes; at most {max_bytes} are accepted")
    return header_length


async def _read(request: Request, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise TooLarge(f"the body has more than {max_bytes} bytes; at most {max_bytes} are accepted")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=_JSON)


def _error(wrong: WavecastError) -> Response:
    return _json({"error": str(wrong)}, wrong.http_status)

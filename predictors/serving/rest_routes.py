"""V2 REST routes on the SDK's application.

They replace the SDK's own, which parse a body twice in pure Python, answer 422 to malformed JSON,
501 to a version, 200 to the health of a server that is not ready, and put class names into errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import orjson
import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY, exposition
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from predictors.core.errors import (
    DeadlineExceeded,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    NotReady,
    TooLarge,
    UnsupportedMediaType,
    WavecastError,
)
from predictors.serving.front import error_response, to_response
from predictors.serving.model import V2Model
from predictors.serving.openapi import describe, render
from predictors.serving.registry import RELEASE_HEADER
from predictors.serving.reply import BINARY, JSON
from predictors.serving.repository_codec import index_request, release_request
from predictors.serving.rest_codec import HEADER_LENGTH
from predictors.serving.rest_infer import RestCall, RestInference

_MOST_DIGITS = 18
_log = structlog.get_logger()
_Endpoint = Callable[[Request], Awaitable[Response]]


def add_routes(app: FastAPI, inference: RestInference) -> None:
    """Give the application its V2 routes, health, metrics and JSON errors."""
    registry, intake, max_bytes = inference.registry, inference.intake, inference.max_bytes

    def find(request: Request) -> V2Model:
        return registry.find(**request.path_params, release=request.headers.get(RELEASE_HEADER))

    async def about(_: Request) -> Response:
        return _json(registry.about())

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
        return _json(registry.metadata(find(request)))

    async def model_ready(request: Request) -> Response:
        found = find(request)
        if not await found.healthy():
            raise NotReady(f"model '{found.name}' is not ready")
        return _json({"name": found.name, "ready": True})

    async def infer(request: Request) -> Response:
        """What the protocol leaves to the application: see `predictors.serving.door`."""
        name = request.path_params["model"]
        this = intake.inference("rest", registry.label(name))
        try:
            found = find(request)
            header_length = _check_headers(request, max_bytes)
            body = await _read(request, max_bytes, intake.timeout_s)
        except BaseException as wrong:
            this.end(wrong if isinstance(wrong, Exception) else None)
            raise
        call = RestCall(name, found, this, header_length=header_length, octets=_is_binary(request))
        return to_response(inference.at_once(call, body) or await inference.answer(call, body))

    async def index(request: Request) -> Response:
        return _json(await registry.index(index_request(await body_of(request))))

    async def load(request: Request) -> Response:
        release = release_request(await body_of(request), request.headers.get(RELEASE_HEADER))
        release = await registry.load(request.path_params["model"], release)
        return _json({"name": request.path_params["model"], "version": release, "load": True})

    async def unload(request: Request) -> Response:
        release = release_request(await body_of(request), request.headers.get(RELEASE_HEADER))
        await registry.unload(request.path_params["model"], release)
        return _json({"name": request.path_params["model"], "version": release, "unload": True})

    async def body_of(request: Request) -> bytes:
        _check_headers(request, max_bytes)
        return await _read(request, max_bytes, intake.timeout_s)

    async def openapi(_: Request) -> Response:
        return _json(await asyncio.to_thread(describe, registry))

    async def docs(_: Request) -> Response:
        return HTMLResponse(await asyncio.to_thread(render, describe(registry)))

    # The SDK's application has an OpenAPI document of its own, of routes that are not these.
    app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", "") != "/openapi.json"]
    app.router.redirect_slashes = False
    versioned = "/v2/models/{model}/versions/{version}"
    for method, path, endpoint in (
        ("GET", "/", about),
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
        ("POST", "/v2/repository/index", index),
        ("POST", "/v2/repository/models/{model}/load", load),
        ("POST", "/v2/repository/models/{model}/unload", unload),
        ("GET", "/openapi.json", openapi),
        ("GET", "/docs", docs),
    ):
        app.router.routes.append(Route(path, _answering(endpoint), methods=[method]))
    app.add_exception_handler(HTTPException, _http_error)


def _answering(endpoint: _Endpoint) -> _Endpoint:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except WavecastError as wrong:
            return error_response(wrong)
        except ClientDisconnect:
            return error_response(InvalidInput("the client went away before the body was complete"))
        except Exception as wrong:  # noqa: BLE001 - no detail of a defect leaves the process
            _log.exception("request broke", path=request.url.path, exc_info=wrong)
            return error_response(WavecastError("internal error; the server's log has the details"))

    return answer


async def _http_error(request: Request, wrong: Exception) -> Response:
    assert isinstance(wrong, HTTPException)
    path = request.url.path
    if wrong.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (wrong.headers or {}).get("Allow", "")
        answer = error_response(MethodNotAllowed(f"{path} does not take {request.method}; it takes {allowed}"))
        answer.headers["allow"] = allowed
        return answer
    if wrong.status_code == HTTPStatus.NOT_FOUND:
        return error_response(NotFound(f"there is no route {path}; the server answers below /v2, /metrics and /"))
    return _json({"error": str(wrong.detail)}, wrong.status_code)


def _check_headers(request: Request, max_bytes: int) -> str | None:
    """Refuse what will not be read before it is sent; the length of the JSON part, if given."""
    headers = request.headers
    header_length = headers.get(HEADER_LENGTH)
    if header_length is not None and len(header_length) > _MOST_DIGITS:
        raise InvalidInput(f"header 'Inference-Header-Content-Length' is '{header_length}'; expected a number of bytes")
    media_type, _, parameters = headers.get("content-type", JSON).partition(";")
    if not (media_type.strip().lower() == JSON or _is_binary(request)):
        raise UnsupportedMediaType(f"content type '{media_type}' is not understood; send {JSON} or {BINARY}")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8"):
        raise UnsupportedMediaType(f"content type parameter '{parameters.strip()}' is not understood; send UTF-8")
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMediaType(f"content encoding '{encoding}' is not understood; send the body uncompressed")
    length = headers.get("content-length", "0")
    if int(length) > max_bytes:
        raise TooLarge(f"the body has {length} bytes; at most {max_bytes} are accepted")
    return header_length


def _is_binary(request: Request) -> bool:
    return request.headers.get("content-type", JSON).partition(";")[0].strip().lower() == BINARY


async def _read(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise TooLarge(f"the body has more than {max_bytes} bytes; at most {max_bytes} are accepted")
                parts.append(part)
    except TimeoutError as late:
        raise DeadlineExceeded(f"the body was not complete after {timeout_s:g} s; {size} bytes came") from late
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=JSON)

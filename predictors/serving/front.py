"""What every REST request meets before the routes: CORS, keys and limits."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from predictors.core.errors import WavecastError
from predictors.serving.guard import Guard, access_of_path
from predictors.serving.intake import Intake
from predictors.serving.reply import Reply, error_reply
from predictors.serving.rest_codec import HEADER_LENGTH


def to_response(reply: Reply) -> Response:
    """A reply as Starlette sends it."""
    return Response(reply.body, reply.status, dict(reply.headers), reply.media_type)


def error_response(wrong: WavecastError) -> Response:
    """The JSON answer to a request that failed; refusals are counted."""
    return to_response(error_reply(wrong))


def front(app: ASGIApp, intake: Intake, cors_origins: Sequence[str]) -> ASGIApp:
    """The application as browsers of ``cors_origins`` and those whom the guard lets in see it."""
    if intake.guard is not None and not intake.guard.open:
        app = _guarded(app, intake.guard)
    if cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("authorization", "x-api-key", "content-type", HEADER_LENGTH, "x-wavecast-release"),
            expose_headers=(HEADER_LENGTH, "retry-after"),
        )
    return app


def _guarded(app: ASGIApp, guard: Guard) -> ASGIApp:

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        header = Headers(scope=scope).get
        client = scope.get("client")
        try:
            with guard.enter(access_of_path(scope["path"]), header, client[0] if client else "unknown"):
                await app(scope, receive, send)
        except WavecastError as wrong:
            await error_response(wrong)(scope, receive, send)

    return enter

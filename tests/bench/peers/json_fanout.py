"""Stands in for KServe's InferenceGraph router: the same JSON body to all members at once, over REST.

The real one is a Go program that joins the answers without combining them. This one combines them,
and is lean (Starlette, orjson, aiohttp, uvloop; no SDK, no logging), so that it does not slow the
graph that it is a part of.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from predictors.core.artifact import ReleaseManifest
from predictors.router.combine import combine

_HEADERS = {"content-type": "application/json"}


def application(release: ReleaseManifest, members: dict[str, str]) -> Starlette:
    """The router of a release; ``members`` has the URL of each."""
    client: aiohttp.ClientSession | None = None

    async def ask(kind: str, body: bytes) -> Any:
        nonlocal client
        if client is None:
            client = aiohttp.ClientSession(headers=_HEADERS)
        async with client.post(f"{members[kind]}/v2/models/{kind}/infer", data=body) as answer:
            answer.raise_for_status()
            return orjson.loads(await answer.read())

    async def infer(request: Request) -> Response:
        body = await request.body()
        answers = await asyncio.gather(*(ask(kind, body) for kind in members))
        tensors = [answer["outputs"][0] for answer in answers]
        arrays = [np.array(tensor["data"], np.float64).reshape(tensor["shape"]) for tensor in tensors]
        forecast = combine(dict(zip(members, arrays, strict=True)), release)
        outputs = [
            {"name": name, "datatype": "FP64", "shape": array.shape, "data": array.reshape(-1)}
            for name, array in (
                ("variance", forecast.variance),
                ("log_variance", forecast.log_variance),
                ("quantiles", forecast.quantiles),
            )
        ]
        content = {"id": answers[0]["id"], "model_name": "wavecast", "outputs": outputs}
        return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    return Starlette(routes=[Route("/v2/models/wavecast/infer", infer, methods=["POST"])])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--release-file", type=Path, required=True)
    parser.add_argument("--member", action="append", required=True, help="KIND=URL")
    arguments = parser.parse_args()
    served = application(
        ReleaseManifest.from_json(arguments.release_file.read_bytes(), "release"),
        dict(member.split("=", 1) for member in arguments.member),
    )
    uvicorn.run(served, port=arguments.http_port, loop="uvloop", access_log=False, log_level="warning")

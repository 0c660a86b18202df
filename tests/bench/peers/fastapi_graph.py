"""The whole graph in one FastAPI process, as a good engineer would write it without KServe.

orjson both ways, no pydantic for tensors, one ONNX Runtime session per member, uvloop and httptools,
no access log. The bars are validated and the answer is checked to be finite, as ours are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response

from bench.peers.session import open_session
from predictors.core.artifact import ReleaseManifest
from predictors.core.errors import InvalidInput
from predictors.core.window import OhlcvWindow, check_windows
from predictors.router.combine import combine
from predictors.wavelet.features import compute_features
from predictors.wavelet.spec import FeatureSpec


def application(release: ReleaseManifest, models: dict[str, Path]) -> FastAPI:
    """The service of a release; ``models`` has the file of each member."""
    spec = FeatureSpec.from_json(release.spec)
    sessions = {kind: open_session(model) for kind, model in models.items()}
    reads = {kind: [entry.name for entry in session.get_inputs()] for kind, session in sessions.items()}
    app = FastAPI()

    @app.post("/v2/models/wavecast/infer")
    async def infer(request: Request) -> Response:
        try:
            [entry] = orjson.loads(await request.body())["inputs"]
            window = OhlcvWindow(np.array(entry["data"], np.float64).reshape(entry["shape"]))
            check_windows(window, spec.window_bars)
            block = compute_features(window.last(spec.window_bars).bars, spec)
        except (InvalidInput, KeyError, TypeError, ValueError) as wrong:
            raise HTTPException(400, str(wrong)) from wrong
        blocks = {"tabular": block.tabular, "sequence": block.sequence}
        answers = {
            kind: session.run(["log_variance"], {name: blocks[name] for name in reads[kind]})[0]
            for kind, session in sessions.items()
        }
        forecast = combine(answers, release)
        outputs = []
        for name, array in (
            ("variance", forecast.variance),
            ("log_variance", forecast.log_variance),
            ("quantiles", forecast.quantiles),
        ):
            if not np.isfinite(array).all():
                raise HTTPException(500, f"'{name}' is not finite")
            outputs.append({"name": name, "datatype": "FP64", "shape": array.shape, "data": array.reshape(-1)})
        content = {
            "model_name": "wavecast",
            "parameters": {"release": release.release, "members": ",".join(forecast.members)},
            "outputs": outputs,
        }
        return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--release-file", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True, help="KIND=FILE")
    arguments = parser.parse_args()
    served = application(
        ReleaseManifest.from_json(arguments.release_file.read_bytes(), "release"),
        {kind: Path(file) for kind, file in (model.split("=", 1) for model in arguments.model)},
    )
    uvicorn.run(served, port=arguments.http_port, loop="uvloop", http="httptools", access_log=False)

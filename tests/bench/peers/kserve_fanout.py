"""The ensemble over gRPC as a stock KServe predictor: the InferenceGraph router has no gRPC, so a user writes this."""

from __future__ import annotations

import argparse
import asyncio
from functools import cached_property
from pathlib import Path

from kserve import InferenceGRPCClient, InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server

from predictors.core.artifact import ReleaseManifest
from predictors.router.combine import combine


class FanOut(Model):  # type: ignore[misc]  # kserve ships no types
    """Asks the members together through the SDK's gRPC client."""

    def __init__(self, name: str, release: ReleaseManifest, members: dict[str, str]) -> None:
        super().__init__(name)
        self._release = release
        self._members = members
        self.ready = True

    @cached_property
    def _clients(self) -> dict[str, InferenceGRPCClient]:
        # Made on first use, because a channel belongs to the event loop it is made on.
        return {kind: InferenceGRPCClient(address) for kind, address in self._members.items()}

    async def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """The combined forecast."""
        answers = await asyncio.gather(
            *(client.infer(InferRequest(kind, payload.inputs)) for kind, client in self._clients.items())
        )
        arrays = {kind: answer.outputs[0].as_numpy() for kind, answer in zip(self._clients, answers, strict=True)}
        forecast = combine(arrays, self._release)
        outputs = []
        for name, array in (
            ("variance", forecast.variance),
            ("log_variance", forecast.log_variance),
            ("quantiles", forecast.quantiles),
        ):
            output = InferOutput(name, list(array.shape), "FP64")
            output.set_data_from_numpy(array, binary_data=payload.use_binary_outputs)
            outputs.append(output)
        return InferResponse(payload.id, self.name, outputs, use_binary_outputs=payload.use_binary_outputs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--release-file", type=Path, required=True)
    parser.add_argument("--member", action="append", required=True, help="KIND=HOST:PORT")
    arguments = parser.parse_args()
    manifest = ReleaseManifest.from_json(arguments.release_file.read_bytes(), "release")
    ModelServer().start(
        [FanOut(arguments.model_name, manifest, dict(member.split("=", 1) for member in arguments.member))]
    )

"""A member as a stock KServe predictor, REST and gRPC, default logging."""

from __future__ import annotations

import argparse
from pathlib import Path

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server

from bench.peers.session import open_session


class OnnxPredictor(Model):  # type: ignore[misc]  # kserve ships no types
    """One ONNX model behind the SDK's own routes."""

    def __init__(self, name: str, model: Path) -> None:
        super().__init__(name)
        self._session = open_session(model)
        self._reads = {entry.name for entry in self._session.get_inputs()}
        self.ready = True

    async def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """Log-variances of the features."""
        feeds = {tensor.name: tensor.as_numpy() for tensor in payload.inputs if tensor.name in self._reads}
        [answer] = self._session.run(["log_variance"], feeds)
        output = InferOutput("log_variance", list(answer.shape), "FP64")
        output.set_data_from_numpy(answer, binary_data=payload.use_binary_outputs)
        return InferResponse(payload.id, self.name, [output], use_binary_outputs=payload.use_binary_outputs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--model", type=Path, required=True)
    arguments = parser.parse_args()
    ModelServer().start([OnnxPredictor(arguments.model_name, arguments.model)])

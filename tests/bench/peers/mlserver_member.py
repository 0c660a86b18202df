"""A member as a custom MLServer runtime; runs in MLServer's own environment, where nothing of ours is installed."""

from __future__ import annotations

from pathlib import Path

import session  # type: ignore[import-not-found]  # beside this file, where MLServer looks
from mlserver import MLModel  # type: ignore[import-not-found]  # not in the project's environment
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]


class OnnxModel(MLModel):  # type: ignore[misc]
    """One ONNX model behind MLServer's own routes."""

    async def load(self) -> bool:
        """Open the session."""
        self._session = session.open_session(Path(self.settings.parameters.uri))
        self._reads = {entry.name for entry in self._session.get_inputs()}
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Log-variances of the features."""
        feeds = {
            tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs if tensor.name in self._reads
        }
        [answer] = self._session.run(["log_variance"], feeds)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("log_variance", answer)])

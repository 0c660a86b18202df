"""The features as a stock KServe transformer; its predictor is reached by the SDK's own clients."""

from __future__ import annotations

import argparse
from pathlib import Path

from kserve import InferInput, InferRequest, Model, ModelServer, model_server
from kserve.constants.constants import PredictorProtocol

from predictors.core.artifact import ReleaseManifest
from predictors.core.window import OhlcvWindow, check_windows
from predictors.wavelet.features import compute_features
from predictors.wavelet.spec import FeatureSpec


class Wavelet(Model):  # type: ignore[misc]  # kserve ships no types
    """Bars in, features out to the predictor; its answer is passed through."""

    def __init__(self, name: str, spec: FeatureSpec) -> None:
        super().__init__(name)
        self._spec = spec
        self.ready = True

    async def preprocess(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferRequest:
        """The features of the windows."""
        window = OhlcvWindow(payload.inputs[0].as_numpy())
        check_windows(window, self._spec.window_bars)
        block = compute_features(window.last(self._spec.window_bars).bars, self._spec)
        binary = self.predictor_config.protocol == PredictorProtocol.GRPC_V2.value
        inputs = []
        for tensor, array in (("tabular", block.tabular), ("sequence", block.sequence)):
            if binary:
                entry = InferInput(tensor, list(array.shape), "FP32")
                entry.set_data_from_numpy(array, binary_data=True)
            else:
                # A list made at once: the SDK's own conversion calls `item` for every element.
                entry = InferInput(tensor, list(array.shape), "FP32", data=array.ravel().tolist())
            inputs.append(entry)
        return InferRequest(self.name, inputs, request_id=payload.id)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--release-file", type=Path, required=True)
    arguments = parser.parse_args()
    release = ReleaseManifest.from_json(arguments.release_file.read_bytes(), "release")
    ModelServer().start([Wavelet(arguments.model_name, FeatureSpec.from_json(release.spec))])

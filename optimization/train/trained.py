"""A trained member as its training library holds it: kept beside the model as a sidecar, never served."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.train.backbone import Backbone
from optimization.train.export import export_member
from optimization.train.learner import Fitted, Learner
from optimization.train.members import learner_from, recipe_of
from predictors.core.errors import ArtifactError, InvalidInput
from predictors.store import read_arrays

TRAINED = "trained.npz"
_BACKBONE = "backbone_"
_RESIDUAL = "residual_"


@dataclass(frozen=True, slots=True)
class Trained:
    """A backbone, a fitted residual, and the learner that fitted it."""

    learner: Learner
    backbone: Backbone
    fitted: Fitted

    def model(self) -> bytes:
        """The member as ONNX."""
        return export_member(self.backbone, self.fitted.graph(), np.array(self.learner.share))

    def log_variance(self, tabular: NDArray[np.float32], sequence: NDArray[np.float32]) -> NDArray[np.float64]:
        """Forecast float64 (B, H) as the training library computes it."""
        residual = np.array(self.learner.share) * self.fitted.residual(tabular, sequence)
        return np.asarray(self.backbone.log_variance(tabular) + residual)

    def to_bytes(self) -> bytes:
        """The content of `TRAINED`; the same bytes for the same member."""
        settings = json.dumps([self.learner.kind, recipe_of(self.learner)], sort_keys=True)
        arrays: dict[str, NDArray[Any]] = {"learner": np.frombuffer(settings.encode(), np.uint8)}
        arrays |= {f"{_BACKBONE}{field.name}": getattr(self.backbone, field.name) for field in fields(Backbone)}
        arrays |= {f"{_RESIDUAL}{name}": array for name, array in self.fitted.arrays().items()}
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # the stub takes the keywords for its flag
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Trained:
        """Restore exactly what `to_bytes` kept.

        Raises
        ------
        ArtifactError
            Naming ``name``, if it is not a trained member of this version of wavecast.
        """
        try:
            arrays = read_arrays(content, f"{name}: {TRAINED}")
            learner = learner_from(*json.loads(arrays["learner"].tobytes()))
            backbone = Backbone(**{field.name: arrays[_BACKBONE + field.name] for field in fields(Backbone)})
            residual = {n.removeprefix(_RESIDUAL): a for n, a in arrays.items() if n.startswith(_RESIDUAL)}
            return cls(learner, backbone, learner.restore(residual))
        except (KeyError, TypeError, ValueError, InvalidInput) as wrong:
            raise ArtifactError(f"{name}: not a member that this version of wavecast trained") from wrong

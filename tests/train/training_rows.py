"""The record of the rows that the learners are tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from optimization.train.backbone import Backbone
from optimization.train.learner import Fitted, Learner
from predictors.wavelet.spec import FeatureSpec


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """N origins in order of time; ``residual`` float64 (N, 2) is NaN where a horizon is unknown."""

    spec: FeatureSpec
    backbone: Backbone
    tabular: NDArray[np.float32]
    sequence: NDArray[np.float32]
    residual: NDArray[np.float64]

    def fit(self, learner: Learner, rows: slice, seed: int = 1, previous: Fitted | None = None) -> Fitted:
        """Fit on some of the rows."""
        return learner.fit(self.tabular[rows], self.sequence[rows], self.residual[rows], seed, previous)

    def planted(self) -> TrainingRows:
        """The same rows with a residual that the last return's finest detail decides, up at h=1 and down at h=5."""
        detail = self.tabular[:, self.spec.columns.index("return_w1")].astype(np.float64)
        return replace(self, residual=np.stack([detail, -detail], axis=1))

    def error(self, fitted: Fitted, rows: slice) -> float:
        """Squared error of the worse horizon, as a part of that of no residual at all."""
        wrong = fitted.residual(self.tabular[rows], self.sequence[rows]) - self.residual[rows]
        return float(np.max(np.square(wrong).sum(axis=0) / np.square(self.residual[rows]).sum(axis=0)))

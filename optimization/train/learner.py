"""What a residual learner offers: every member is the backbone plus a share of its residual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray


class Fitted(Protocol):
    """A fitted residual."""

    def residual(self, tabular: NDArray[np.float32], sequence: NDArray[np.float32]) -> NDArray[np.float32]:
        """Residual float32 (B, H) as the training library computes it."""
        ...

    def graph(self) -> onnx.GraphProto:
        """The same as an ONNX graph: see `optimization.train.export.export_member`."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that it consists of, for `Learner.restore`."""
        ...


class Learner(Protocol):
    """Fits a residual of the backbone.

    Attributes
    ----------
    kind
        Member kind, as in `predictors.core.artifact.KINDS`.
    share
        Part of the residual that is kept at each horizon.
    refit_every
        Bars between refits in a walk-forward.
    """

    @property
    def kind(self) -> str: ...

    @property
    def share(self) -> tuple[float, ...]: ...

    @property
    def refit_every(self) -> int: ...

    def fit(
        self,
        tabular: NDArray[np.float32],
        sequence: NDArray[np.float32],
        residual: NDArray[np.float64],
        seed: int,
        previous: Fitted | None = None,
    ) -> Fitted:
        """Fit on matured rows; ``residual`` (N, H) is NaN where a horizon has not matured.

        ``previous``, an earlier fit of the same learner, warm-starts those that can.
        """
        ...

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> Fitted:
        """The very fit whose ``arrays`` these are; a missing one is a KeyError."""
        ...

"""What the wavelet stage hands to the members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FeatureBlock:
    """Features of B windows, all of them functions of the window's bars alone.

    Attributes
    ----------
    tabular
        float32 (B, F), columns as `FeatureSpec.columns` names them.
    sequence
        float32 (B, S, C), channels as `FeatureSpec.channels` names them; the last step is the
        forecast origin.
    spec_hash
        sha256 (hex) of the canonical JSON of the `FeatureSpec` that made them.
    floored_bars
        int64 (B,): bars of each window whose variance proxy was raised to the floor.
    """

    tabular: NDArray[np.float32]
    sequence: NDArray[np.float32]
    spec_hash: str
    floored_bars: NDArray[np.int64]

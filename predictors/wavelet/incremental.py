"""The same features bar by bar: a buffer of the last window, recomputed by `compute_features`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import ArtifactError
from predictors.core.features import FeatureBlock
from predictors.core.window import FIELDS, OhlcvWindow, check_windows
from predictors.wavelet.features import compute_features
from predictors.wavelet.spec import FeatureSpec


class FeatureStream:
    """Features of a series that arrives one bar at a time.

    Nothing is carried over but the bars themselves, so that a stream, a batch and a restored
    snapshot give the same bits.

    Parameters
    ----------
    spec
        What to compute.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self._bars = np.empty((0, len(FIELDS)))

    def push(self, bar: NDArray[np.float64]) -> FeatureBlock | None:
        """Append a bar.

        Parameters
        ----------
        bar
            float64 (5,): open, high, low, close, volume.

        Returns
        -------
        FeatureBlock of one window, the one that ends with ``bar``; ``None`` while the stream
        holds fewer than ``spec.window_bars`` bars.

        Raises
        ------
        InvalidInput
            If the bar breaks the contract: the stream stays as it was. If the median variance
            proxy of the window is 0: the bar is kept, and later bars may end the condition.
        """
        check_windows(OhlcvWindow(bar[None, None]), 1)
        self._bars = np.concatenate([self._bars[-(self._spec.window_bars - 1) :], bar[None]])
        if len(self._bars) < self._spec.window_bars:
            return None
        return compute_features(self._bars[None], self._spec)

    def snapshot(self) -> bytes:
        """JSON from which `restore` resumes this stream: spec hash, bars (to the last bit), sha256 of both."""
        content = {"spec": self._spec.hash, "bars": self._bars.tolist()}
        return json.dumps({**content, "sha256": _digest(content)}).encode()

    @classmethod
    def restore(cls, snapshot: bytes, spec: FeatureSpec) -> FeatureStream:
        """A stream that goes on where `snapshot` was taken.

        Raises
        ------
        ArtifactError
            If the snapshot was altered or cut short, or is of another spec.
        """
        try:
            content = json.loads(snapshot)
            intact = content.pop("sha256") == _digest(content)
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            raise ArtifactError("stream snapshot: not a whole snapshot; start the stream anew") from wrong
        if not intact:
            raise ArtifactError("stream snapshot: it was altered, its sha256 does not match; start the stream anew")
        if content["spec"] != spec.hash:
            raise ArtifactError(
                f"stream snapshot: it is of the feature spec {content['spec'][:12]}, "
                f"not {spec.hash[:12]}; start the stream anew"
            )
        stream = cls(spec)
        stream._bars = np.array(content["bars"], np.float64).reshape(-1, len(FIELDS))
        return stream


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

"""Pure inference of a member: one ONNX Runtime session, one thread, features in, log-variance out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from predictors.core.errors import ArtifactError, NotReady

OUTPUT = "log_variance"


class OnnxMember:
    """A member's ``model.onnx``: inputs ``tabular`` and, for the networks, ``sequence``.

    The backtest, the calibration, the golden windows and every server use this class, so their
    numbers are the same bits at batch 1.
    """

    def __init__(self, model: bytes) -> None:
        """Make the session.

        Raises
        ------
        ArtifactError
            If ``model`` is not an ONNX model that ONNX Runtime can run.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as wrong:  # ONNX Runtime raises a class of its own per cause
            raise ArtifactError("model.onnx is not a model that ONNX Runtime can load") from wrong
        self.inputs = tuple(entry.name for entry in self._session.get_inputs())

    def log_variance(self, tabular: NDArray[np.float32], sequence: NDArray[np.float32]) -> NDArray[np.float64]:
        """Forecast B windows in one call.

        Parameters
        ----------
        tabular
            float32 (B, F), all columns of the spec.
        sequence
            float32 (B, S, C).

        Returns
        -------
        float64 (B, H)
        """
        blocks: dict[str, NDArray[Any]] = {"tabular": tabular, "sequence": sequence}
        return np.asarray(self._session.run([OUTPUT], {name: blocks[name] for name in self.inputs})[0])

    def log_variance_each(self, tabular: NDArray[np.float32], sequence: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same at batch 1, window by window: the reference of backtests and goldens."""
        rows = [self.log_variance(tabular[i : i + 1], sequence[i : i + 1]) for i in range(len(tabular))]
        return np.concatenate(rows) if rows else np.empty((0, 0))


def replay(member: OnnxMember, golden: Mapping[str, NDArray[Any]], name: str) -> None:
    """Replay the golden windows on this CPU.

    Parameters
    ----------
    member
        The loaded member.
    golden
        ``tabular``, ``sequence``, ``log_variance`` and the scalar ``tolerance`` (absolute).
    name
        For the message.

    Raises
    ------
    NotReady
        If an answer differs by more than the tolerance.
    """
    answers = member.log_variance_each(golden["tabular"], golden["sequence"])
    worst = float(np.max(np.abs(answers - golden["log_variance"])))
    tolerance = float(golden["tolerance"])
    if not worst <= tolerance:
        raise NotReady(f"{name}: golden replay differs by {worst:.3g}, more than {tolerance:.3g}; it is not served")

"""Answers that were given before: the same release and the same windows have the same forecast."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from predictors.serving.metrics import METRICS
from predictors.serving.tensors import Response

Key = tuple[str, int, bytes]


class ResponseCache:
    """The most recently used answers, bounded by the number of their windows."""

    def __init__(self, windows: int) -> None:
        """Keep the answers of at most ``windows`` windows."""
        self._most = windows
        self._held = 0
        self._answers: OrderedDict[Key, Response] = OrderedDict()

    @classmethod
    def of(cls, windows: int) -> ResponseCache | None:
        """A cache of that size; none of size 0."""
        return cls(windows) if windows else None

    @staticmethod
    def key(release: str, bars: NDArray[np.float64]) -> Key:
        """Key of a batch, which is all that its answer depends on.

        Parameters
        ----------
        release
            That answers.
        bars
            float64 (B, window_bars, 5), C-contiguous: only what the features are computed from. The batch is one
            entry, because a window's answer depends on its batch in the last bits.
        """
        return release, len(bars), hashlib.sha256(bars.data).digest()

    def get(self, key: Key) -> Response | None:
        """The answer, if it is held."""
        answer = self._answers.get(key)
        if answer is None:
            METRICS.cache("miss")
            return None
        METRICS.cache("hit")
        self._answers.move_to_end(key)
        return answer

    def put(self, key: Key, answer: Response) -> None:
        """Hold an answer of all members; a degraded one is worth less than to ask again."""
        if answer.parameters["degraded"] or key[1] > self._most or key in self._answers:
            return
        self._answers[key] = answer
        self._held += key[1]
        while self._held > self._most:
            (_, windows, _), _ = self._answers.popitem(last=False)
            self._held -= windows

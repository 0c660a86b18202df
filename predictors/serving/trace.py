"""Where the time of one inference went; the stages mark it, whoever calls them."""

from __future__ import annotations

import time
from contextvars import ContextVar


class Trace:
    """Seconds by stage, in the order in which they were marked."""

    __slots__ = ("_last", "cached", "stages")

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self.cached = False
        """Whether the answer came from the response cache."""
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        """Give the time since the last mark to ``stage``, of `predictors.serving.metrics.STAGES`."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._last
        self._last = now


_current: ContextVar[Trace] = ContextVar("trace", default=Trace())  # noqa: B039 - of golden replays, read by nobody


def begin_trace() -> Trace:
    """A new trace, which is that of the running task from here on."""
    trace = Trace()
    _current.set(trace)
    return trace


def current_trace() -> Trace:
    """The trace of the running task."""
    return _current.get()

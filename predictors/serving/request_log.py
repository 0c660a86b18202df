"""The log of inferences: one JSON object a line, written by a thread.

A request only appends what there is to say; a slow reader of the log loses lines, which are counted, and never
makes a request wait.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

import orjson

from predictors.core.errors import Forbidden, Overloaded, RateLimited, Unauthenticated, WavecastError
from predictors.serving.metrics import METRICS
from predictors.serving.tensors import Request, Response
from predictors.serving.trace import Trace

_FLUSH_S = 0.2
_MOST_LINES = 10_000
_COUNTED_ONLY = (Forbidden, Overloaded, RateLimited, Unauthenticated)


class RequestLog:
    """Counts inferences, and writes a sample of them to stderr."""

    def __init__(self, sample: float, per_s: float, payload: bool) -> None:
        """Start the thread.

        Parameters
        ----------
        sample
            Share of the good answers that is written.
        per_s
            The most of them in a second.
        payload
            Whether with their bars.
        """
        self._sample = sample
        self._per_flush = per_s * _FLUSH_S
        self._left = self._per_flush
        self._payload = payload
        self._lines: deque[dict[str, Any]] = deque()
        self._stop = threading.Event()
        self._writer = threading.Thread(target=self._write, name="request log", daemon=True)
        self._writer.start()

    def add(
        self,
        protocol: str,
        model: str,
        trace: Trace,
        seconds: float,
        request: Request | None,
        outcome: Response | BaseException | None,
    ) -> None:
        """Count one inference and perhaps write it.

        Parameters
        ----------
        protocol, model
            How and what was asked; a model that is loaded, or ``unknown``.
        trace
            Its stages.
        seconds
            It took.
        request
            If it could be decoded.
        outcome
            The answer, or why there is none; ``None`` if the client went away.
        """
        if isinstance(outcome, Response):
            code = "OK"
            if outcome.parameters.get("degraded"):
                METRICS.degraded()
        elif isinstance(outcome, WavecastError):
            code = outcome.grpc_code
        else:
            code = "CANCELLED" if outcome is None else "INTERNAL"
        METRICS.answered(protocol, model, code, seconds, trace.stages)
        if code == "OK":
            if self._left <= 0.0 or (self._sample < 1.0 and random.random() >= self._sample):
                return
            self._left -= 1.0
        elif isinstance(outcome, _COUNTED_ONLY):
            return
        if len(self._lines) >= _MOST_LINES:
            METRICS.log_lines_lost += 1
            return
        self._lines.append(
            {
                "event": "infer",
                "at": time.time(),
                "protocol": protocol,
                "model": model,
                "code": code,
                "seconds": seconds,
                "trace": trace,
                "request": request,
                "outcome": outcome,
            }
        )

    def close(self) -> None:
        """Write what is left."""
        self._stop.set()
        self._writer.join(timeout=1.0)

    def _write(self) -> None:
        while not self._stop.wait(_FLUSH_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        self._left = min(self._left, 0.0) + self._per_flush
        lines = [_line(self._lines.popleft(), self._payload) for _ in range(len(self._lines))]
        if lines:
            sys.stderr.buffer.write(b"".join(lines))
            sys.stderr.buffer.flush()


def _line(entry: dict[str, Any], payload: bool) -> bytes:
    trace, request, outcome = entry.pop("trace"), entry.pop("request"), entry.pop("outcome")
    entry["timestamp"] = datetime.fromtimestamp(entry.pop("at"), UTC).isoformat()
    entry["ms"] = round(1e3 * entry.pop("seconds"), 3)
    entry["stages_ms"] = {stage: round(1e3 * took, 3) for stage, took in trace.stages.items()}
    if request is not None:
        entry["rows"] = len(next(iter(request.tensors.values())))
        if request.id:
            entry["id"] = request.id
        if "series" in request.parameters:
            entry["series"] = request.parameters["series"]
        if payload:
            entry["tensors"] = dict(request.tensors)
    if isinstance(outcome, Response):
        entry |= {name: outcome.parameters[name] for name in ("release", "members") if name in outcome.parameters}
        if trace.cached:
            entry["cached"] = True
    elif outcome is not None:
        entry["error"] = str(outcome) if isinstance(outcome, WavecastError) else "internal error"
    return orjson.dumps(entry, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)

"""What surrounds every inference of a process: who may ask, turns, and the account of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext

from predictors.core.errors import Overloaded, RateLimited, WavecastError
from predictors.serving.guard import Guard, access_of_method
from predictors.serving.metrics import METRICS
from predictors.serving.refusals import Refusals
from predictors.serving.request_log import RequestLog
from predictors.serving.settings import PublicSettings, ServerSettings, ServeSettings
from predictors.serving.tensors import Request, Response
from predictors.serving.trace import Trace, begin_trace
from predictors.serving.turns import Turns

WINDOW_BYTES = 16 * 1024
"""About one window of 128 bars as JSON: how many windows' worth of work a body is."""
_BATCHES_WAITING = 32
"""Most large batches that wait; each holds its body, up to `max_bytes`."""
_AT_OTHERS = 16
_PRIOR_S = 1e-3
"""What a small inference takes before any was measured, in seconds."""
_FREE = nullcontext()


class Intake:
    """The keys, limits and turns of the process that accepts bars; the others only keep account."""

    def __init__(self, settings: ServerSettings) -> None:
        """Set up as configured.

        Parameters
        ----------
        settings
            Of the process.

        Raises
        ------
        InvalidInput, NotFound
            If the keys cannot be read, or are missing where the process is open to a network.
        """
        public = settings if isinstance(settings, PublicSettings) else None
        self.guard = None if public is None else Guard(public)
        self.timeout_s = settings.timeout_s
        """Longest time that a request may take, in seconds."""
        self.small: Turns | None = None
        self.refusals: Refusals | None = None
        self._large: Turns | None = None
        if public is not None:
            batches = min(public.max_waiting, _BATCHES_WAITING)
            self.small = Turns(_width(public), public.max_waiting, public.max_wait_s, _PRIOR_S)
            self.refusals = Refusals(self.small)
            self._large = Turns(settings.worker_threads, batches, public.max_wait_s, _PRIOR_S / WINDOW_BYTES)
        self._small_bytes = max(settings.inline_rows, 1) * WINDOW_BYTES
        self._log = RequestLog(
            settings.log_sample if settings.log_level in ("debug", "info") else 0.0,
            settings.log_per_s,
            public is not None and public.log_payload,
        )

    def inference(self, protocol: str, model: str) -> Inference:
        """The account of one inference, which begins now; ``model`` must be loaded, or ``unknown``."""
        return Inference(self._log, protocol, model)

    def enter_grpc(self, method: str, metadata: Mapping[str, str], address: str) -> AbstractContextManager[None]:
        """Let a gRPC call in, as `Guard.enter`."""
        if self.guard is None or self.guard.open:
            return _FREE
        return self.guard.enter(access_of_method(method), metadata.get, address)

    def is_small(self, size: int) -> bool:
        """Whether a body of so many bytes is decoded and computed on the event loop."""
        return size <= self._small_bytes

    def turn(self, size: int, deadline: float) -> AbstractAsyncContextManager[None]:
        """A turn of an inference with a body of ``size`` bytes, as `Turns.take`."""
        if self.small is None or self._large is None:
            return _FREE
        return self.small.take(1, deadline) if self.is_small(size) else self._large.take(size, deadline)

    def close(self) -> None:
        """Write what is left of the log."""
        self._log.close()


class Inference:
    """One inference from its beginning; what is known of it when it ends is counted and logged.

    As a context manager it ends with the block, and with the error that leaves it.
    """

    __slots__ = ("_log", "_model", "_protocol", "_started", "answer", "arrived", "request", "trace")

    def __init__(self, log: RequestLog, protocol: str, model: str) -> None:
        self._log, self._protocol, self._model = log, protocol, model
        self.arrived = time.monotonic()
        """`time.monotonic` seconds; deadlines count from here."""
        self.request: Request | None = None
        self.answer: Response | None = None
        METRICS.in_flight += 1
        self._started = time.perf_counter()
        self.trace: Trace = begin_trace()

    def decoded(self, request: Request) -> None:
        """Note the request, once it is known."""
        self.request = request
        self.trace.mark("decode")

    def end(self, outcome: Response | Exception | None) -> None:
        """Count and log it: the answer, or why there is none; ``None`` if nobody waits for it any more.

        It is written down in the next turn of the event loop, when an answer that was ready has been sent.
        """
        METRICS.in_flight -= 1
        took = time.perf_counter() - self._started
        account = (self._protocol, self._model, self.trace, took, self.request, outcome)
        asyncio.get_running_loop().call_soon(self._log.add, *account)

    def __enter__(self) -> Inference:
        return self

    def __exit__(self, kind: object, wrong: BaseException | None, traceback: object) -> None:
        self.end(wrong if isinstance(wrong, Exception) else self.answer)


def _width(settings: PublicSettings) -> int:
    """Small inferences at once: one where they are computed on the event loop, more where others compute them."""
    return 1 if isinstance(settings, ServeSettings) else _AT_OTHERS


def retry_metadata(wrong: WavecastError) -> tuple[tuple[str, str], ...]:
    """Trailing metadata that says when to try again, where that is known.

    ``grpc-retry-pushback-ms`` is what gRPC's own retries obey (gRFC A6); ``retry-after`` is as over HTTP.
    """
    if not isinstance(wrong, RateLimited | Overloaded):
        return ()
    milliseconds = max(1, round(1e3 * wrong.retry_after_s))
    return ("retry-after", str(-(-milliseconds // 1000))), ("grpc-retry-pushback-ms", str(milliseconds))

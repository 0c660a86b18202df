"""The public model ``wavecast``: bars in, forecast out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.core.artifact import ReleaseManifest
from predictors.core.errors import InvalidInput
from predictors.core.features import FeatureBlock
from predictors.core.window import FIELDS, OhlcvWindow, check_windows
from predictors.serving.cache import Key, ResponseCache
from predictors.serving.ensemble import MODEL, forecast_outputs, release_facts
from predictors.serving.model import Done, V2Model
from predictors.serving.peer import Peer
from predictors.serving.replay import replay_release, replay_when_possible
from predictors.serving.settings import ServeSettings, WaveletSettings
from predictors.serving.tensors import Request, Response, TensorSpec
from predictors.serving.trace import current_trace
from predictors.serving.work import Worker
from predictors.wavelet.features import compute_features
from predictors.wavelet.spec import FeatureSpec

Forecaster = Callable[[FeatureBlock, float], Awaitable[Response]]
"""Features and a deadline (`time.monotonic` seconds) in, forecast out."""

ForecasterThen = Callable[[FeatureBlock, float, Done], None]
"""The same, telling the outcome."""

ForecasterNow = Callable[[FeatureBlock], Response]
"""The same without waiting."""


class WavecastModel(V2Model):
    """Validates bars, computes their features and has them forecast."""

    platform = "ensemble"
    request_parameters = ("max_age_s", "series", "timeout")

    def __init__(
        self,
        release: ReleaseManifest,
        golden: Mapping[str, NDArray[Any]],
        forecaster: Forecaster,
        settings: ServeSettings | WaveletSettings,
        worker: Worker,
        router: Peer | None = None,
        cache: ResponseCache | None = None,
        forecaster_now: ForecasterNow | None = None,
        forecaster_then: ForecasterThen | None = None,
    ) -> None:
        """Declare the model of a release.

        Parameters
        ----------
        release, golden
            As read and verified.
        forecaster
            From features to a forecast.
        settings, worker
            Of the process.
        router
            Where the forecaster is another process: it, so that readiness depends on it.
        cache
            Where answers are kept, if they are; that of the process, for all its releases.
        forecaster_now
            From features to a forecast at once, where the members are in this process.
        forecaster_then
            From features to a forecast without a task, where the router is another process.
        """
        super().__init__(MODEL, settings.timeout_s)
        self.version = release.release
        self.members = release.members
        self._spec = FeatureSpec.from_json(release.spec)
        most = (settings.max_batch, settings.max_bars)
        self.inputs = {
            "bars": TensorSpec("bars", "FP64", (-1, -1, 5), at_most=(*most, 5)),
            "timestamps": TensorSpec("timestamps", "INT64", (-1, -1), optional=True, at_most=most),
        }
        self.outputs = forecast_outputs(release)
        self.facts = {
            **release_facts(release),
            "spec": self._spec.hash,
            "proxy": release.proxy,
            "bars_per_year": release.bars_per_year,
            "fields": ",".join(FIELDS),
            "window_bars": self._spec.window_bars,
            "max_bars": settings.max_bars,
            "max_batch": settings.max_batch,
            "max_bytes": settings.max_bytes,
        }
        self._release = release
        self._golden = golden
        self._forecaster = forecaster
        self._worker = worker
        self._router = router
        self._cache = cache
        self._forecaster_now = forecaster_now
        self._forecaster_then = forecaster_then
        self.immediate = forecaster_now is not None
        self.prompt = forecaster_then is not None

    def load(self) -> bool:
        """Replay the release's golden windows through the members of this process, end to end.

        Raises
        ------
        NotReady
            If a member does not answer or an answer differs.
        """
        asyncio.run(replay_release(self._forecast, self._golden, self._release))
        self.ready = True
        return True

    async def warm_up(self) -> None:
        """Where the router is another process: replay as soon as it answers with all members.

        Raises
        ------
        NotReady
            If an answer differs.
        """
        if self._router is not None:
            possible = partial(self._router.ready, MODEL, self.version)
            await replay_when_possible(self._forecast, self._golden, self._release, possible)
            self.ready = True

    async def healthy(self) -> bool:
        """Whether the golden replay passed and the router, if there is one, is ready."""
        return bool(self.ready) and (self._router is None or await self._router.ready(MODEL, self.version))

    async def respond(self, request: Request, deadline: float) -> Response:
        """Answer ``bars`` float64 (B, T, 5) with the tensors of `forecast_outputs`."""
        window = OhlcvWindow(request.tensors["bars"], request.tensors.get("timestamps"))
        recent, key = await self._worker.run(len(window.bars), partial(self._check, window))
        _check_age(window.timestamps, request.parameters.get("max_age_s"))
        response = self._kept(key)
        if response is None:
            response = self._keep(key, await self._compute(recent, deadline))
        return _with_origin(response, window.timestamps)

    def respond_now(self, request: Request) -> Response | None:
        """The same for a batch that is small enough, where the members are in this process."""
        window = OhlcvWindow(request.tensors["bars"], request.tensors.get("timestamps"))
        if self._forecaster_now is None or len(window.bars) > self._worker.inline_rows:
            return None
        recent, key = self._check(window)
        _check_age(window.timestamps, request.parameters.get("max_age_s"))
        response = self._kept(key)
        if response is None:
            block = compute_features(recent, self._spec)
            current_trace().mark("features")
            response = self._keep(key, self._forecaster_now(block))
        return _with_origin(response, window.timestamps)

    def respond_then(self, request: Request, deadline: float, done: Done) -> bool:
        """The same where the router is another process."""
        window = OhlcvWindow(request.tensors["bars"], request.tensors.get("timestamps"))
        if self._forecaster_then is None or len(window.bars) > self._worker.inline_rows:
            return False
        recent, key = self._check(window)
        _check_age(window.timestamps, request.parameters.get("max_age_s"))

        def answered(outcome: Response | Exception) -> None:
            if isinstance(outcome, Response):
                outcome = _with_origin(self._keep(key, outcome), window.timestamps)
            done(outcome)

        response = self._kept(key)
        if response is not None:
            done(_with_origin(response, window.timestamps))
            return True
        block = compute_features(recent, self._spec)
        current_trace().mark("features")
        self._forecaster_then(block, deadline, answered)
        return True

    def _kept(self, key: Key | None) -> Response | None:
        response = None if key is None or self._cache is None else self._cache.get(key)
        current_trace().cached = response is not None
        return response

    def _keep(self, key: Key | None, response: Response) -> Response:
        if key is not None and self._cache is not None:
            self._cache.put(key, response)
        return response

    async def _forecast(self, bars: NDArray[np.float64]) -> Response:
        recent, _ = self._check(OhlcvWindow(bars))
        return await self._compute(recent, time.monotonic() + self._timeout_s)

    def _check(self, window: OhlcvWindow) -> tuple[NDArray[np.float64], Key | None]:
        """The bars that features are computed from, and what they are cached by."""
        check_windows(window, self._spec.window_bars)
        recent = window.last(self._spec.window_bars).bars
        return recent, None if self._cache is None else ResponseCache.key(self.version, recent)

    async def _compute(self, bars: NDArray[np.float64], deadline: float) -> Response:
        block = await self._worker.run(len(bars), partial(compute_features, bars, self._spec))
        current_trace().mark("features")
        return await self._forecaster(block, deadline)


def _with_origin(response: Response, timestamps: NDArray[np.int64] | None) -> Response:
    if timestamps is None:
        return response
    return Response(response.tensors, {**response.parameters, "origin": int(timestamps[:, -1].max())})


def _check_age(timestamps: NDArray[np.int64] | None, max_age_s: object) -> None:
    if max_age_s is None:
        return
    if isinstance(max_age_s, bool) or not isinstance(max_age_s, int | float) or max_age_s <= 0:
        raise InvalidInput(f"parameter 'max_age_s' is {max_age_s!r}; expected a positive number of seconds")
    if timestamps is None:
        raise InvalidInput("parameter 'max_age_s' needs the tensor 'timestamps', which is missing")
    oldest = int(timestamps[:, -1].argmin())
    age_s = time.time() - float(timestamps[oldest, -1]) / 1e9
    if age_s > max_age_s:
        raise InvalidInput(
            f"tensor 'timestamps' [{oldest}, -1] is {age_s:.0f} s old; parameter 'max_age_s' allows {max_age_s:g} s"
        )

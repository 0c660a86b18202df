"""The ensemble: members asked together, combined into one forecast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from predictors.core.artifact import ReleaseManifest
from predictors.core.errors import InvalidInput, WavecastError
from predictors.core.features import FeatureBlock
from predictors.core.forecast import Forecast
from predictors.members.onnx_member import OUTPUT
from predictors.router.breaker import Breaker
from predictors.router.combine import combine
from predictors.router.fanout import Answers, Ask, AskNow, FanOut, ask_all_now, check_answer, fan_out
from predictors.serving.metrics import METRICS
from predictors.serving.model import Done, V2Model, check_spec
from predictors.serving.peer import Peer
from predictors.serving.replay import replay_when_possible
from predictors.serving.rest_message import Message, encode_request
from predictors.serving.settings import RouterSettings
from predictors.serving.tensors import Request, Response, Scalar, TensorSpec
from predictors.serving.trace import current_trace
from predictors.wavelet.features import compute_features
from predictors.wavelet.spec import FeatureSpec

MODEL = "wavecast"
_READY_TIMEOUT_S = 0.5
"""Less than the wavelet's process waits for the router's answer to the same question."""
_FINE_US = 100_000
"""Time left below which every microsecond is told."""
_log = structlog.get_logger()


class Ensemble:
    """Features in, forecast out, whichever way the members are reached."""

    def __init__(
        self,
        release: ReleaseManifest,
        asks: Mapping[str, Ask],
        min_members: int,
        asks_now: Mapping[str, AskNow] | None = None,
    ) -> None:
        self._release = release
        self._facts = release_facts(release)
        self._asks = asks
        self._min_members = min_members
        self._asks_now = asks_now or {}

    async def __call__(self, block: FeatureBlock, deadline: float) -> Response:
        """Forecast B windows before ``deadline`` (`time.monotonic` seconds).

        Raises
        ------
        NotReady, DeadlineExceeded
            If fewer than the demanded members answered.
        """
        shape = (len(block.tabular), len(self._release.horizons))
        answers = await fan_out(self._asks, block, shape, deadline, self._min_members)
        current_trace().mark("members")
        return to_response(combine(answers, self._release), self._facts)

    def then(self, block: FeatureBlock, deadline: float, done: Done) -> None:
        """The same; ``done`` is called with the outcome, unless this raises."""

        def combined(answers: Answers | WavecastError) -> None:
            outcome: Response | Exception
            if isinstance(answers, WavecastError):
                outcome = answers
            else:
                current_trace().mark("members")
                outcome = to_response(combine(answers, self._release), self._facts)
            done(outcome)

        shape = (len(block.tabular), len(self._release.horizons))
        FanOut(self._asks, block, shape, deadline, self._min_members, combined)

    def now(self, block: FeatureBlock) -> Response:
        """The same at once, where the members are in this process and the batch is small.

        Raises
        ------
        NotReady
            If fewer than the demanded members answered.
        """
        shape = (len(block.tabular), len(self._release.horizons))
        answers = ask_all_now(self._asks_now, block, shape, self._min_members)
        current_trace().mark("members")
        return to_response(combine(answers, self._release), self._facts)


class RouterModel(V2Model):
    """The ensemble graph router: features in, forecast out, members in other processes.

    Attributes
    ----------
    breakers
        By kind of member.
    """

    platform = "ensemble"
    request_parameters = ("spec", "timeout")
    prompt = True

    def __init__(
        self,
        release: ReleaseManifest,
        golden: Mapping[str, NDArray[Any]],
        peers: Mapping[str, Peer],
        settings: RouterSettings,
    ) -> None:
        super().__init__(MODEL, settings.timeout_s)
        spec = FeatureSpec.from_json(release.spec)
        self.version = release.release
        self.inputs = {
            "tabular": TensorSpec("tabular", "FP32", (-1, len(spec.columns)), at_most=(settings.max_batch,)),
            "sequence": TensorSpec("sequence", "FP32", (-1, spec.sequence_bars, len(spec.channels))),
        }
        self.outputs = forecast_outputs(release)
        self.facts = {
            **release_facts(release),
            "spec": spec.hash,
            "max_batch": settings.max_batch,
            "max_bytes": settings.max_bytes,
        }
        self._release = release
        self._golden = golden
        self._golden_block = compute_features(golden["bars"][:1], spec)
        self._spec = spec
        self._peers = peers
        self._min_members = settings.min_members
        self._members_wait_s = settings.members_wait_s
        self.breakers = {
            kind: Breaker(
                kind,
                partial(self._ask, kind),
                partial(self._probe, kind),
                partial(METRICS.breaker, kind),
                settings.breaker_failures,
                settings.breaker_patience_s,
                settings.breaker_pause_s,
            )
            for kind in peers
        }
        self._last_message: tuple[FeatureBlock, float, Message] | None = None
        self._ensemble = Ensemble(release, self.breakers, settings.min_members)

    async def warm_up(self) -> None:
        """Replay the release's golden windows when all members are ready, or after a while those that are.

        Raises
        ------
        NotReady
            If an answer differs.
        """
        full_until = time.monotonic() + self._members_wait_s

        async def possible() -> bool:
            wanted = len(self._peers) if time.monotonic() < full_until else self._min_members
            return await self._are_ready(wanted) and await self._fit()

        await replay_when_possible(self._forecast, self._golden, self._release, possible)
        self.ready = True

    async def healthy(self) -> bool:
        """Whether the golden replay passed and enough members are ready."""
        return bool(self.ready) and await self._are_ready(self._min_members)

    async def _are_ready(self, wanted: int) -> bool:
        """Whether so many members are; a frozen one is not waited for if the others are enough."""
        asked = [
            peer.ready(kind, self._release.members[kind], _READY_TIMEOUT_S)
            for kind, peer in self._peers.items()
            if not self.breakers[kind].open
        ]
        for answer in asyncio.as_completed(asked):
            wanted -= await answer
            if wanted <= 0:
                return True
        return False

    async def _fit(self) -> bool:
        """Whether no member refuses the features of this release; one that does never takes part."""
        refusals = await asyncio.gather(*map(self._refusal, self._peers))
        for kind, refusal in zip(self._peers, refusals, strict=True):
            if refusal is not None:
                _log.warning("waiting for members", reason=f"{kind} {self._release.members[kind]}: {refusal}")
        return not any(refusals)

    async def _refusal(self, kind: str) -> str | None:
        try:
            async with asyncio.timeout(_READY_TIMEOUT_S):
                await self._probe(kind)
        except InvalidInput as wrong:
            return str(wrong)
        except (WavecastError, TimeoutError):
            return None  # an absent member may come, and a wrong answer is the golden replay's matter
        return None

    async def respond(self, request: Request, deadline: float) -> Response:
        """Answer feature blocks with the tensors of `forecast_outputs`."""
        return await self._ensemble(self._block(request), deadline)

    def respond_then(self, request: Request, deadline: float, done: Done) -> bool:
        """The same without a task."""
        self._ensemble.then(self._block(request), deadline, done)
        return True

    def _block(self, request: Request) -> FeatureBlock:
        check_spec(request.parameters, self._spec.hash, self.name)
        tabular, sequence = request.tensors["tabular"], request.tensors["sequence"]
        return FeatureBlock(tabular, sequence, self._spec.hash, np.zeros(len(tabular), np.int64))

    async def _forecast(self, bars: NDArray[np.float64]) -> Response:
        return await self._ensemble(compute_features(bars, self._spec), time.monotonic() + self._timeout_s)

    def _ask(self, kind: str, block: FeatureBlock, timeout_s: float) -> asyncio.Future[NDArray[np.float64]]:
        version = self._release.members[kind]
        return self._peers[kind].infer(
            kind, version, self._message(block, timeout_s), timeout_s, partial(self._read, block)
        )

    def _message(self, block: FeatureBlock, timeout_s: float) -> Message:
        """What all members are asked; it is encoded once."""
        known = self._last_message
        if known is None or known[0] is not block or known[1] != timeout_s:
            self._last_message = known = block, timeout_s, encode_message(block, timeout_s)
        return known[2]

    def _read(self, block: FeatureBlock, response: Response) -> NDArray[np.float64]:
        spec = response.parameters.get("spec")
        if spec != block.spec_hash:
            raise WavecastError(f"answered from features of spec {spec!r}; expected '{block.spec_hash}'")
        if OUTPUT not in response.tensors:
            raise WavecastError(f"answered without '{OUTPUT}'")
        return check_answer(response.tensors[OUTPUT], (len(block.tabular), len(self._release.horizons)))

    async def _probe(self, kind: str) -> None:
        """Replay a golden window through one member.

        Raises
        ------
        WavecastError
            If it fails, or answers otherwise than when the release was made.
        """
        answer = await self._ask(kind, self._golden_block, self._timeout_s)
        expected = self._golden.get(f"member_{kind}")
        if expected is None:  # a release made before these were stored
            return
        worst = float(np.max(np.abs(answer - expected[:1])))
        if not worst <= float(self._golden["tolerance"]):
            raise WavecastError(f"answered a golden window with a difference of {worst:.3g}")


async def ask_router(peer: Peer, release: str, block: FeatureBlock, deadline: float) -> Response:
    """Forecast by the router's process, which must be of the same release."""
    left = deadline - time.monotonic()
    response = await peer.infer(MODEL, release, encode_message(block, left), left, _whole)
    current_trace().mark("members")
    return response


def ask_router_then(peer: Peer, release: str, block: FeatureBlock, deadline: float, done: Done) -> None:
    """The same; ``done`` is called with the outcome, a `TimeoutError` at the deadline."""
    left = deadline - time.monotonic()
    answer = peer.infer(MODEL, release, encode_message(block, left), left, _whole)
    late = asyncio.get_running_loop().call_later(left, answer.cancel)

    def answered(answer: asyncio.Future[Response]) -> None:
        late.cancel()
        current_trace().mark("members")
        if answer.cancelled():
            done(TimeoutError())
        else:
            wrong = answer.exception()
            done(wrong if isinstance(wrong, Exception) else answer.result())

    answer.add_done_callback(answered)


def encode_message(block: FeatureBlock, timeout_s: float) -> Message:
    """Features as a V2 request with binary tensors, and the time that is left for it.

    It is told in whole milliseconds if there are many, so that the header is often one that the other side knows.
    """
    left_us = int(1e6 * timeout_s)
    if left_us > _FINE_US:
        left_us -= left_us % 1000
    parameters: dict[str, Scalar] = {"spec": block.spec_hash, "timeout": max(1, left_us)}
    return encode_request({"tabular": block.tabular, "sequence": block.sequence}, parameters)


def _whole(response: Response) -> Response:
    return response


def forecast_outputs(release: ReleaseManifest) -> tuple[TensorSpec, ...]:
    """Outputs of a forecast: variance (B, H) per bar, its logarithm before smearing, quantiles (B, H, Q)."""
    horizons, levels = len(release.horizons), len(release.quantile_levels)
    return (
        TensorSpec("variance", "FP64", (-1, horizons)),
        TensorSpec("log_variance", "FP64", (-1, horizons)),
        TensorSpec("quantiles", "FP64", (-1, horizons, levels)),
    )


def release_facts(release: ReleaseManifest) -> dict[str, Scalar]:
    """What a release forecasts, as V2 parameters (scalars only)."""
    return {
        "release": release.release,
        "horizons": ",".join(str(h) for h in release.horizons),
        "quantile_levels": ",".join(f"{level:g}" for level in release.quantile_levels),
    }


def to_response(forecast: Forecast, facts: Mapping[str, Scalar]) -> Response:
    """A forecast as V2 tensors and parameters; ``facts`` are those of its release."""
    return Response(
        {"variance": forecast.variance, "log_variance": forecast.log_variance, "quantiles": forecast.quantiles},
        {
            **facts,
            "members": ",".join(f"{kind}:{weight:.6g}" for kind, weight in forecast.members.items()),
            "degraded": forecast.degraded,
        },
    )

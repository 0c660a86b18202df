"""The ensemble: members asked together, combined into one forecast."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.core.artifact import ReleaseManifest
from predictors.core.features import FeatureBlock
from predictors.core.forecast import Forecast
from predictors.members.onnx_member import OUTPUT
from predictors.router.combine import combine
from predictors.router.fanout import Ask, fan_out
from predictors.serving.model import V2Model, check_spec
from predictors.serving.peer import Peer
from predictors.serving.replay import replay_when_possible
from predictors.serving.settings import RouterSettings
from predictors.serving.tensors import Request, Response, Scalar, TensorSpec
from predictors.wavelet.features import compute_features
from predictors.wavelet.spec import FeatureSpec

MODEL = "wavecast"


class Ensemble:
    """Features in, forecast out, whichever way the members are reached."""

    def __init__(self, release: ReleaseManifest, asks: Mapping[str, Ask], min_members: int) -> None:
        self._release = release
        self._asks = asks
        self._min_members = min_members

    async def __call__(self, block: FeatureBlock, deadline: float) -> Response:
        """Forecast B windows before ``deadline`` (`time.monotonic` seconds).

        Raises
        ------
        NotReady, DeadlineExceeded
            If fewer than the demanded members answered.
        """
        shape = (len(block.tabular), len(self._release.horizons))
        answers = await fan_out(self._asks, block, shape, deadline, self._min_members)
        return to_response(combine(answers, self._release), self._release)


class RouterModel(V2Model):
    """The ensemble graph router: features in, forecast out, members in other processes."""

    platform = "ensemble"

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
        self.facts = {**release_facts(release), "max_batch": settings.max_batch, "max_bytes": settings.max_bytes}
        self._spec = spec
        self._peers = peers
        self._min_members = settings.min_members
        self._ensemble = Ensemble(
            release, {kind: partial(_ask, peer, kind) for kind, peer in peers.items()}, settings.min_members
        )
        self._golden = golden

    async def warm_up(self) -> None:
        """Replay the release's golden windows as soon as all members answer.

        Raises
        ------
        NotReady
            If an answer differs.
        """

        async def possible() -> bool:
            return await self._ready_members() == len(self._peers)

        await replay_when_possible(self._forecast, self._golden, self.version, possible)
        self.ready = True

    async def healthy(self) -> bool:
        """Whether the golden replay passed and enough members are ready."""
        return bool(self.ready) and await self._ready_members() >= self._min_members

    async def _ready_members(self) -> int:
        return sum(await asyncio.gather(*(peer.ready(kind) for kind, peer in self._peers.items())))

    async def predict(self, payload: Request, headers: Mapping[str, str] | None = None) -> Response:
        """Answer feature blocks with the tensors of `forecast_outputs`."""
        check_spec(payload.parameters, self._spec.hash, self.name)
        tabular, sequence = payload.tensors["tabular"], payload.tensors["sequence"]
        block = FeatureBlock(tabular, sequence, self._spec.hash, np.zeros(len(tabular), np.int64))
        return await self._ensemble(block, payload.deadline)

    async def _forecast(self, bars: NDArray[np.float64]) -> Response:
        return await self._ensemble(compute_features(bars, self._spec), time.monotonic() + self._timeout_s)


async def _ask(peer: Peer, kind: str, block: FeatureBlock, timeout_s: float) -> NDArray[np.float64]:
    response = await peer.infer(kind, blocks(block), {"spec": block.spec_hash}, timeout_s)
    return np.asarray(response.tensors[OUTPUT])


async def ask_router(peer: Peer, block: FeatureBlock, deadline: float) -> Response:
    """Forecast by the router's process."""
    left = deadline - time.monotonic()
    return await peer.infer(MODEL, blocks(block), {"spec": block.spec_hash}, left)


def blocks(block: FeatureBlock) -> dict[str, NDArray[np.float32]]:
    """The feature tensors of a request."""
    return {"tabular": block.tabular, "sequence": block.sequence}


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


def to_response(forecast: Forecast, release: ReleaseManifest) -> Response:
    """A forecast as V2 tensors and parameters."""
    return Response(
        {"variance": forecast.variance, "log_variance": forecast.log_variance, "quantiles": forecast.quantiles},
        {
            **release_facts(release),
            "members": ",".join(f"{kind}:{weight:.6g}" for kind, weight in forecast.members.items()),
            "degraded": forecast.degraded,
        },
    )

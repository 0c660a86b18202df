"""Fixed architectures that compressed members are measured against: size, latency and, once trained, loss.

An LSTM of 64 units, or two pre-norm transformer blocks of width 64 with 4 heads and a feed-forward
width of 128: one seed, in float32, over the last 64 bars, one bar a step. They are trained as the
members that wavecast begins with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from optimization.parallel import Advance, Arrays
from optimization.rows import Rows
from optimization.train.lstm import Lstm
from optimization.train.members import LEARNERS
from optimization.train.network import (
    Dropout,
    GraphWriter,
    NetworkLearner,
    NetworkResidual,
    Parameters,
    linear,
    normalise,
    uniform,
)
from optimization.train.trained import Trained
from optimization.train.xgboost import BoostedResidual
from optimization.walkforward import Schedule, walk_forward
from predictors.wavelet.spec import FeatureSpec

_BARS, _WIDTH, _LAYERS, _HEADS, _HIDDEN = 64, 64, 2, 4, 128


def reference_learner(kind: str) -> NetworkLearner | None:
    """The reference network of a kind, trained as the default member of that kind; None for trees, which have none."""
    learner = LEARNERS[kind]
    if not isinstance(learner, NetworkLearner):
        return None
    network = Lstm(_BARS, step_bars=1, width=_WIDTH, seeds=1) if isinstance(learner.network, Lstm) else Blocks()
    return replace(learner, network=network)


def reference_model(member: Trained) -> bytes | None:
    """The member with the reference network, not yet trained, in place of its own; None for trees."""
    learner = reference_learner(member.learner.kind)
    if learner is None:
        return None
    own = member.fitted
    assert isinstance(own, NetworkResidual)
    generator = torch.Generator().manual_seed(0)
    parameters = learner.network.start(len(own.mean), len(learner.share), generator)
    return replace(member, fitted=replace(own, network=learner.network, parameters=parameters)).model()


def walk_reference(
    rows: Rows, spec: FeatureSpec, kind: str, schedule: Schedule, seed: int, *, advance: Advance
) -> Arrays:
    """``log_variance`` float64 (N, H) of the reference network, walked forward as a member is."""
    return {"log_variance": walk_forward(rows, spec, reference_learner(kind), schedule, seed, advance)}


def json_bytes(fitted: BoostedResidual) -> int:
    """Bytes of all boosters in XGBoost's own JSON."""
    return sum(len(booster.save_raw("json")) for bags in fitted.boosters for booster in bags)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Two pre-norm encoder blocks, a token a bar; the last token and the mean are read out."""

    bars: int = _BARS
    seeds: int = 1

    def start(self, channels: int, horizons: int, generator: torch.Generator) -> Parameters:
        sizes = {"patch": (channels, _WIDTH), "position": (_BARS, _WIDTH)}
        for layer in range(_LAYERS):
            sizes |= {
                f"attention_{layer}": (_WIDTH, 3 * _WIDTH),
                f"mix_{layer}": (_WIDTH, _WIDTH),
                f"expand_{layer}": (_WIDTH, _HIDDEN),
                f"contract_{layer}": (_HIDDEN, _WIDTH),
            }
        out = {name: uniform(generator, 1, *shape, fan_in=shape[0]) for name, shape in sizes.items()}
        biased = {f"{name}_bias": torch.zeros(1, shape[1]) for name, shape in sizes.items() if name != "position"}
        return out | biased | {"head": torch.zeros(1, 2 * _WIDTH, horizons), "head_bias": torch.zeros(1, horizons)}

    def readout(self, parameters: Parameters, x: torch.Tensor, dropout: Dropout) -> torch.Tensor:
        seeds, rows, bars, _ = x.shape

        def apply(name: str, value: torch.Tensor) -> torch.Tensor:
            return linear(value, parameters[name], parameters[f"{name}_bias"])

        t = apply("patch", x) + parameters["position"][:, None]
        for layer in range(_LAYERS):
            parts = apply(f"attention_{layer}", normalise(t)).reshape(seeds, rows, bars, 3, _HEADS, -1)
            query, key, value = parts.permute(3, 0, 1, 4, 2, 5)
            scores = torch.softmax(query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5, dim=-1)
            t = t + dropout(apply(f"mix_{layer}", (scores @ value).transpose(2, 3).reshape(seeds, rows, bars, -1)))
            t = t + dropout(apply(f"contract_{layer}", apply(f"expand_{layer}", normalise(t)).relu()))
        return torch.cat([t[:, :, -1], t.mean(dim=2)], dim=-1)

    def write_readout(self, parameters: Parameters, x: str, graph: GraphWriter) -> str:
        def apply(name: str, value: str) -> str:
            product = graph.add("MatMul", value, graph.constant(parameters[name][0]))
            return graph.add("Add", product, graph.constant(parameters[f"{name}_bias"][0]))

        width = _WIDTH // _HEADS
        t = graph.add("Add", apply("patch", x), graph.constant(parameters["position"][0]))
        for layer in range(_LAYERS):
            parts = graph.reshape(apply(f"attention_{layer}", graph.normalise(t, _WIDTH)), -1, _BARS, 3 * _HEADS, width)
            names = [f"{part}_{layer}" for part in ("queries", "keys", "values")]
            graph.append("Split", [graph.add("Transpose", parts, perm=[0, 2, 1, 3])], names, axis=1, num_outputs=3)
            product = graph.add("MatMul", names[0], graph.add("Transpose", names[1], perm=[0, 1, 3, 2]))
            scaled = graph.add("Mul", product, graph.constant(np.array(width**-0.5, np.float32)))
            attended = graph.add("MatMul", graph.add("Softmax", scaled, axis=-1), names[2])
            merged = graph.reshape(graph.add("Transpose", attended, perm=[0, 2, 1, 3]), -1, _BARS, _WIDTH)
            t = graph.add("Add", t, apply(f"mix_{layer}", merged))
            wide = graph.add("Relu", apply(f"expand_{layer}", graph.normalise(t, _WIDTH)))
            t = graph.add("Add", t, apply(f"contract_{layer}", wide))
        last = graph.add("Gather", t, graph.constant(np.array(_BARS - 1)), axis=1)
        mean = graph.add("ReduceMean", t, graph.constant(np.array([1], np.int64)), keepdims=0)
        return graph.reshape(graph.add("Concat", last, mean, axis=-1), -1, 1, 2 * _WIDTH)

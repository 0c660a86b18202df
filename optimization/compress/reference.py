"""Fixed architectures that compressed members are measured against: size and latency, whatever the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from optimization.train.lstm import Lstm
from optimization.train.network import Dropout, GraphWriter, NetworkResidual, Parameters, uniform
from optimization.train.trained import Trained
from optimization.train.xgboost import BoostedResidual

_BARS, _WIDTH, _LAYERS, _HEADS, _HIDDEN = 64, 64, 2, 4, 128


def reference_model(member: Trained) -> bytes | None:
    """The member with the reference network in place of its own, in float32; None for trees, which have none.

    An LSTM of 64 units, or two pre-norm transformer blocks of width 64 with 4 heads and a
    feed-forward width of 128; one seed, over the last 64 bars, one bar a step.
    """
    if not isinstance(member.fitted, NetworkResidual):
        return None
    own = member.fitted
    recurrent = isinstance(own.network, Lstm)
    network = Lstm(bars=_BARS, step_bars=1, width=_WIDTH, seeds=1) if recurrent else _Blocks()
    generator = torch.Generator().manual_seed(0)
    parameters = network.start(len(own.mean), len(member.learner.share), generator)
    return replace(member, fitted=replace(own, network=network, parameters=parameters)).model()


def json_bytes(fitted: BoostedResidual) -> int:
    """Bytes of all boosters in XGBoost's own JSON."""
    return sum(len(booster.save_raw("json")) for bags in fitted.boosters for booster in bags)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Only started and written, never trained."""

    bars: int = _BARS
    seeds: int = 1

    def start(self, channels: int, horizons: int, generator: torch.Generator) -> Parameters:
        sizes = {"patch": (channels, _WIDTH), "position": (_BARS, _WIDTH), "head": (2 * _WIDTH, horizons)}
        for layer in range(_LAYERS):
            sizes |= {
                f"attention_{layer}": (_WIDTH, 3 * _WIDTH),
                f"mix_{layer}": (_WIDTH, _WIDTH),
                f"expand_{layer}": (_WIDTH, _HIDDEN),
                f"contract_{layer}": (_HIDDEN, _WIDTH),
            }
        out = {name: uniform(generator, 1, *shape, fan_in=shape[0]) for name, shape in sizes.items()}
        biased = {f"{name}_bias": torch.zeros(1, shape[1]) for name, shape in sizes.items() if name != "position"}
        return out | biased

    def readout(self, parameters: Parameters, x: torch.Tensor, dropout: Dropout) -> torch.Tensor:
        raise NotImplementedError("the reference is measured, not trained")

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

"""The attentive residual: one small pre-norm block over patches of the sequence block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optimization.train.network import (
    Dropout,
    GraphWriter,
    NetworkLearner,
    Parameters,
    Training,
    linear,
    normalise,
    uniform,
)
from predictors.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Transformer:
    """One pre-norm encoder block (Xiong et al. 2020, arXiv:2002.04745); the last token and the mean are read out."""

    bars: int = 64
    patch_bars: int = 4
    width: int = 16
    heads: int = 2
    hidden: int = 32
    seeds: int = 5

    def __post_init__(self) -> None:
        for whole, name, part in (("bars", "patch_bars", self.patch_bars), ("width", "heads", self.heads)):
            if getattr(self, whole) % part:
                raise InvalidInput(
                    f"transformer: {whole} is {getattr(self, whole)}; it must be a multiple of {name}, {part}"
                )

    def start(self, channels: int, horizons: int, generator: torch.Generator) -> Parameters:
        """Torch's own start of linear maps, small positions, and a head of zeros."""
        seeds, width, hidden, patch = self.seeds, self.width, self.hidden, channels * self.patch_bars
        tokens = self.bars // self.patch_bars
        return {
            "patch": uniform(generator, seeds, patch, width, fan_in=patch),
            "position": 0.02 * torch.randn(seeds, tokens, width, generator=generator, dtype=torch.float32),
            "attention": uniform(generator, seeds, width, 3 * width, fan_in=width),
            "attention_bias": torch.zeros(seeds, 3 * width, dtype=torch.float32),
            "mix": uniform(generator, seeds, width, width, fan_in=width),
            "mix_bias": torch.zeros(seeds, width, dtype=torch.float32),
            "expand": uniform(generator, seeds, width, hidden, fan_in=width),
            "expand_bias": torch.zeros(seeds, hidden, dtype=torch.float32),
            "contract": uniform(generator, seeds, hidden, width, fan_in=hidden),
            "contract_bias": torch.zeros(seeds, width, dtype=torch.float32),
            "head": torch.zeros(seeds, 2 * width, horizons, dtype=torch.float32),
            "head_bias": torch.zeros(seeds, horizons, dtype=torch.float32),
        }

    def readout(self, parameters: Parameters, x: Tensor, dropout: Dropout) -> Tensor:
        """Last token beside the mean token, (K, B, 2 D)."""
        seeds, rows, bars, channels = x.shape
        tokens = bars // self.patch_bars
        patches = x.reshape(seeds, rows * tokens, self.patch_bars * channels)
        position = parameters["position"][:, None]
        t = torch.bmm(patches, parameters["patch"]).reshape(seeds, rows, tokens, self.width) + position

        def apply(name: str, value: Tensor) -> Tensor:
            return linear(value, parameters[name], parameters[f"{name}_bias"])

        parts = apply("attention", normalise(t)).reshape(seeds, rows, tokens, 3, self.heads, -1)
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5)
        scores = torch.softmax(query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5, dim=-1)
        t = t + dropout(apply("mix", (scores @ value).transpose(2, 3).reshape(seeds, rows, tokens, -1)))
        t = t + dropout(apply("contract", apply("expand", normalise(t)).relu()))
        return torch.cat([t[:, :, -1], t.mean(dim=2)], dim=-1)

    def write_readout(self, parameters: Parameters, x: str, graph: GraphWriter) -> str:
        """The same with the seeds on axis 1, after the batch."""
        seeds, patch, width = parameters["patch"].shape
        tokens = self.bars // self.patch_bars
        inner = parameters["mix"].shape[1]  # less than the width once heads were pruned
        weight = parameters["patch"].transpose(0, 1).reshape(patch, seeds * width)
        flat = graph.add("MatMul", graph.reshape(x, -1, tokens, patch), graph.constant(weight))
        spread = graph.add("Transpose", graph.reshape(flat, -1, tokens, seeds, width), perm=[0, 2, 1, 3])
        t = graph.add("Add", spread, graph.constant(parameters["position"]))

        def apply(name: str, value: str) -> str:
            product = graph.add("MatMul", value, graph.constant(parameters[name]))
            return graph.add("Add", product, graph.constant(parameters[f"{name}_bias"][:, None]))

        parts = graph.reshape(
            apply("attention", graph.normalise(t, width)), -1, seeds, tokens, 3 * self.heads, inner // self.heads
        )
        by_head = graph.add("Transpose", parts, perm=[0, 1, 3, 2, 4])
        graph.append("Split", [by_head], ["query", "key", "value"], axis=2, num_outputs=3)
        product = graph.add("MatMul", "query", graph.add("Transpose", "key", perm=[0, 1, 2, 4, 3]))
        scaled = graph.add("Mul", product, graph.constant(np.array((inner // self.heads) ** -0.5, np.float32)))
        attended = graph.add("MatMul", graph.add("Softmax", scaled, axis=-1), "value")
        merged = graph.reshape(graph.add("Transpose", attended, perm=[0, 1, 3, 2, 4]), -1, seeds, tokens, inner)
        t = graph.add("Add", t, apply("mix", merged))
        t = graph.add("Add", t, apply("contract", graph.add("Relu", apply("expand", graph.normalise(t, width)))))
        last = graph.add("Gather", t, graph.constant(np.array(tokens - 1)), axis=2)
        mean = graph.add("ReduceMean", t, graph.constant(np.array([2], np.int64)), keepdims=0)
        return graph.add("Concat", last, mean, axis=-1)


TRANSFORMER = NetworkLearner(
    "transformer", Transformer(), Training(rate=3e-3, decay=0.1, dropout=0.2, epochs=8, warm_epochs=3)
)

"""The recurrent residual: a small LSTM over the last bars of the sequence block."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optimization.train.network import (
    Dropout,
    GraphWriter,
    NetworkLearner,
    Parameters,
    Training,
    uniform,
)
from predictors.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Lstm:
    """An LSTM whose last state is read out (Hochreiter and Schmidhuber 1997, 10.1162/neco.1997.9.8.1735).

    The channels carry the past at every scale, so it needs to read few bars itself, ``step_bars`` at a time.
    Gates are in torch's order: input, forget, cell, output.
    """

    bars: int = 16
    step_bars: int = 2
    width: int = 16
    seeds: int = 5

    def __post_init__(self) -> None:
        if self.bars % self.step_bars:
            raise InvalidInput(f"lstm: bars is {self.bars}; it must be a multiple of step_bars, {self.step_bars}")

    def start(self, channels: int, horizons: int, generator: torch.Generator) -> Parameters:
        """Torch's own start of an LSTM, and a head of zeros."""
        seeds, gates = self.seeds, 4 * self.width
        return {
            "input": uniform(generator, seeds, gates, channels * self.step_bars, fan_in=self.width),
            "recurrent": uniform(generator, seeds, gates, self.width, fan_in=self.width),
            "bias": uniform(generator, seeds, gates, fan_in=self.width),
            "head": torch.zeros(seeds, self.width, horizons, dtype=torch.float32),
            "head_bias": torch.zeros(seeds, horizons, dtype=torch.float32),
        }

    def readout(self, parameters: Parameters, x: Tensor, dropout: Dropout) -> Tensor:
        """Last hidden states (K, B, D)."""
        seeds, rows, bars, channels = x.shape
        steps = x.reshape(seeds, rows, bars // self.step_bars, channels * self.step_bars)
        zero = x.new_zeros(1, rows, self.width)
        states = []
        for k in range(seeds):
            bias = parameters["bias"][k]
            weights = [parameters["input"][k], parameters["recurrent"][k], bias, torch.zeros_like(bias)]
            # has_biases, num_layers, dropout, train, bidirectional, batch_first
            states.append(torch.lstm(steps[k], (zero, zero), weights, True, 1, 0.0, True, False, True)[1][0])
        return torch.stack(states)

    def write_readout(self, parameters: Parameters, x: str, graph: GraphWriter) -> str:
        """One LSTM node: the seeds' states side by side, their recurrent weights in blocks on the diagonal."""
        seeds, _, inputs = parameters["input"].shape
        width = self.width
        gates, states = 4 * seeds * width, seeds * width

        def by_gate(name: str) -> Tensor:
            """(4, K, D, ...) of the parameter; ONNX orders the gates input, output, forget, cell."""
            value = parameters[name]
            return value.reshape(seeds, 4, width, *value.shape[2:])[:, [0, 3, 1, 2]].transpose(0, 1)

        blocks = torch.zeros(4, seeds, width, seeds, width, dtype=torch.float32)
        for k in range(seeds):
            blocks[:, k, :, k] = by_gate("recurrent")[:, k]
        bias = by_gate("bias").reshape(1, gates)
        weights = [
            by_gate("input").reshape(1, gates, inputs),
            blocks.reshape(1, gates, states),
            torch.cat([bias, torch.zeros_like(bias)], dim=1),
        ]
        steps = graph.add("Transpose", graph.reshape(x, -1, self.bars // self.step_bars, inputs), perm=[1, 0, 2])
        graph.append("LSTM", [steps, *map(graph.constant, weights)], ["", "state"], hidden_size=states)
        return graph.reshape("state", -1, seeds, width)


LSTM = NetworkLearner("lstm", Lstm(), Training(rate=4e-3, decay=0.05, dropout=0.1, epochs=10, warm_epochs=3))

"""What the residual networks share: scaling, the training loop, seeds and warm starts, the ONNX frame.

Several networks that differ in their seed alone are trained side by side: every parameter has a
leading seed axis, so that one pass over a batch serves them all. A member is their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from optimization.train.backbone import CLIP
from optimization.train.export import RESIDUAL
from optimization.train.learner import Fitted
from predictors.core.errors import InvalidInput

BATCH_ROWS = 256
NORM_EPSILON = 1e-5

Parameters = dict[str, Tensor]
Dropout = Callable[[Tensor], Tensor]


class GraphWriter:
    """Nodes and constants of an ONNX graph in the order in which they are written."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: Tensor | NDArray[Any]) -> str:
        """Store a constant; returns its name."""
        name = f"constant_{len(self.initializers)}"
        array = value.numpy() if isinstance(value, Tensor) else value
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def append(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Append a node whose outputs are named; an empty name is an output that nobody reads."""
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=f"node_{len(self.nodes)}", **attributes))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output; returns the name that it is given."""
        name = f"value_{len(self.nodes)}"
        self.append(operator, inputs, [name], **attributes)
        return name

    def reshape(self, value: str, *shape: int) -> str:
        """Append a Reshape; -1 is the batch."""
        return self.add("Reshape", value, self.constant(np.array(shape, np.int64)))

    def normalise(self, value: str, width: int) -> str:
        """Append a LayerNormalization of the last axis, the counterpart of `normalise`."""
        scale = self.constant(np.ones(width, np.float32))
        return self.add("LayerNormalization", value, scale, axis=-1, epsilon=NORM_EPSILON)


class Network(Protocol):
    """One architecture. K seeds, B rows, S bars, C channels, H horizons."""

    @property
    def bars(self) -> int:
        """Last bars of the sequence block that are read."""
        ...

    @property
    def seeds(self) -> int:
        """Networks K that are trained side by side."""
        ...

    def start(self, channels: int, horizons: int, generator: torch.Generator) -> Parameters:
        """Random parameters, each with the leading axis K; the head ``head`` (K, D, H), ``head_bias`` is zero."""
        ...

    def readout(self, parameters: Parameters, x: Tensor, dropout: Dropout) -> Tensor:
        """What the head reads, (K, B, D), of standardised sequences (K, B, S, C)."""
        ...

    def write_readout(self, parameters: Parameters, x: str, graph: GraphWriter) -> str:
        """The same as ONNX: (B, K, D) of ``x`` (B, S, C)."""
        ...


@dataclass(frozen=True, slots=True)
class Training:
    """AdamW on squared error with a one-cycle rate.

    Attributes
    ----------
    rate
        Peak learning rate; half of it in a warm start.
    decay
        Weight decay.
    dropout
        Probability.
    epochs, warm_epochs
        Passes over the rows from nothing, and from an earlier fit.
    """

    rate: float
    decay: float
    dropout: float
    epochs: int
    warm_epochs: int


@dataclass(frozen=True, slots=True)
class NetworkResidual:
    """K trained networks; the residual is their mean.

    Attributes
    ----------
    mean, scale
        float32 (C,): standardisation of the channels over the training rows.
    """

    network: Network
    parameters: Parameters
    mean: Tensor
    scale: Tensor

    def residual(self, tabular: NDArray[np.float32], sequence: NDArray[np.float32]) -> NDArray[np.float32]:
        """Residual float32 (B, H); ``tabular`` is not read."""
        with _one_thread(), torch.no_grad():
            x = _standardise(_recent(sequence, self.network.bars), self.mean, self.scale)
            every = _outputs(
                self.network,
                self.parameters,
                x.expand(len(self.parameters["head"]), *x.shape),
                dropout=lambda value: value,
            )
            return np.asarray(every.mean(dim=0).numpy())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Parameters, standardisation of the channels, and the sizes of the architecture."""
        sizes: dict[str, int] = asdict(self.network)  # type: ignore[call-overload]  # every network is a dataclass of sizes
        return {
            "mean": self.mean.numpy(),
            "scale": self.scale.numpy(),
            **{f"parameter_{name}": value.numpy() for name, value in self.parameters.items()},
            **{f"network_{name}": np.array(size) for name, size in sizes.items()},
        }

    def graph(self) -> onnx.GraphProto:
        """``sequence`` float32 (B, S, C) to ``residual`` float32 (B, H); the mean over the seeds is one MatMul."""
        graph = GraphWriter()
        head, head_bias = self.parameters["head"], self.parameters["head_bias"]
        seeds, width, horizons = head.shape
        first = graph.constant(np.array([-self.network.bars], np.int64))
        end = graph.constant(np.array([np.iinfo(np.int64).max], np.int64))
        recent = graph.add("Slice", "sequence", first, end, graph.constant(np.array([1], np.int64)))
        centred = graph.add("Sub", recent, graph.constant(self.mean))
        wide = graph.add("Div", centred, graph.constant(self.scale))
        least, most = (graph.constant(np.array(bound, np.float32)) for bound in (-CLIP, CLIP))
        x = graph.add("Clip", wide, least, most)
        readout = graph.normalise(self.network.write_readout(self.parameters, x, graph), width)
        beside = graph.reshape(readout, -1, seeds * width)
        total = graph.add("MatMul", beside, graph.constant(head.reshape(seeds * width, horizons) / seeds))
        graph.append("Add", [total, graph.constant(head_bias.mean(dim=0))], [RESIDUAL])
        return helper.make_graph(
            graph.nodes,
            "network",
            [helper.make_tensor_value_info("sequence", TensorProto.FLOAT, ["B", "S", len(self.mean)])],
            [helper.make_tensor_value_info(RESIDUAL, TensorProto.FLOAT, ["B", horizons])],
            graph.initializers,
        )


@dataclass(frozen=True, slots=True)
class NetworkLearner:
    """Fits networks of one architecture and several seeds to the backbone's residual.

    Attributes are those of `optimization.train.learner.Learner`, and what is trained, and how.
    """

    kind: str
    network: Network
    training: Training
    share: tuple[float, ...] = (0.25, 0.25)
    refit_every: int = 264

    def fit(
        self,
        tabular: NDArray[np.float32],
        sequence: NDArray[np.float32],
        residual: NDArray[np.float64],
        seed: int,
        previous: Fitted | None = None,
    ) -> NetworkResidual:
        """Fit on matured rows, from nothing or from ``previous``; ``tabular`` is not read.

        The result depends on the numbers, ``seed`` and ``previous`` alone: torch's global random
        state is neither read nor moved, and sums run on one thread, in one order.

        Raises
        ------
        InvalidInput
            If the sequence block has fewer bars than the network reads.
        """
        if sequence.shape[1] < self.network.bars:
            raise InvalidInput(
                f"{self.kind}: the sequence block has {sequence.shape[1]} bars, it reads {self.network.bars}; "
                "raise sequence_bars of the feature spec"
            )
        with _one_thread(), torch.enable_grad():
            generator = torch.Generator().manual_seed(seed)
            recent = _recent(sequence, self.network.bars)
            exact = recent.double()
            mean, spread = exact.mean(dim=(0, 1)), exact.std(dim=(0, 1))
            scale = torch.where(spread > 1e-9 * (1.0 + mean.abs()), spread, 1.0)
            mean, scale = mean.float(), scale.float()
            target = torch.tensor(residual, dtype=torch.float32)
            if previous is None:
                parameters = self.network.start(recent.shape[2], target.shape[1], generator)
            else:
                assert isinstance(previous, NetworkResidual), "a warm start needs an earlier fit of the same learner"
                parameters = {name: value.clone() for name, value in previous.parameters.items()}
            self._train(parameters, _standardise(recent, mean, scale), target, generator, previous is not None)
            return NetworkResidual(self.network, {n: p.detach() for n, p in parameters.items()}, mean, scale)

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> NetworkResidual:
        """The fit whose ``arrays`` these are, whatever its sizes."""
        sizes = {name.removeprefix("network_"): a.item() for name, a in arrays.items() if name.startswith("network_")}
        parameters = {
            name.removeprefix("parameter_"): torch.tensor(a)
            for name, a in arrays.items()
            if name.startswith("parameter_")
        }
        mean, scale = torch.tensor(arrays["mean"]), torch.tensor(arrays["scale"])
        return NetworkResidual(type(self.network)(**sizes), parameters, mean, scale)

    def _train(self, parameters: Parameters, x: Tensor, target: Tensor, generator: torch.Generator, warm: bool) -> None:
        """Train in place; each seed sees the rows in an order of its own, which makes their mean better."""
        how = self.training
        seeds = len(parameters["head"])
        epochs, rate = (how.warm_epochs, how.rate / 2) if warm else (how.epochs, how.rate)
        batches = -(-len(x) // BATCH_ROWS)
        optimiser = torch.optim.AdamW(
            [value.requires_grad_() for value in parameters.values()], lr=rate, weight_decay=how.decay, fused=True
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=epochs * batches)
        known = ~target.isnan()
        target = target.nan_to_num()

        def dropout(value: Tensor) -> Tensor:
            keep = torch.rand(value.shape, generator=generator, dtype=torch.float32) >= how.dropout
            return value * (keep.float() / (1.0 - how.dropout))

        for _ in range(epochs):
            order = torch.rand(seeds, len(x), generator=generator, dtype=torch.float32).argsort(dim=1, stable=True)
            for rows in order.chunk(batches, dim=1):
                errors = (_outputs(self.network, parameters, x[rows], dropout) - target[rows]) * known[rows]
                loss = errors.square().sum() * seeds / known[rows].sum()  # the seeds share no parameter
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()


def normalise(x: Tensor) -> Tensor:
    """Layer normalisation without weights: a linear map follows it everywhere."""
    out: Tensor = functional.layer_norm(x, x.shape[-1:], eps=NORM_EPSILON)
    return out


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear map per seed: x (K, ..., I), weight (K, I, O), bias (K, O)."""
    flat = torch.baddbmm(bias[:, None], x.reshape(len(x), -1, x.shape[-1]), weight)
    return flat.reshape(*x.shape[:-1], weight.shape[-1])


def uniform(generator: torch.Generator, *shape: int, fan_in: int) -> Tensor:
    """Uniform in ±1/sqrt(fan_in), float32 of ``shape``: torch's own start of a linear map."""
    unit = torch.rand(shape, generator=generator, dtype=torch.float32)
    return (2.0 * unit - 1.0) / math.sqrt(fan_in)


def _outputs(network: Network, parameters: Parameters, x: Tensor, dropout: Dropout) -> Tensor:
    """Residuals (K, B, H)."""
    readout = normalise(network.readout(parameters, x, dropout))
    return linear(dropout(readout), parameters["head"], parameters["head_bias"])


def _recent(sequence: NDArray[np.float32], bars: int) -> Tensor:
    """The last bars in torch's own aligned memory, whatever array they are a view of."""
    return torch.tensor(sequence[:, -bars:], dtype=torch.float32)


def _standardise(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return ((x - mean) / scale).clamp(-CLIP, CLIP)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

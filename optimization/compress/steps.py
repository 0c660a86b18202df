"""The steps of compression by name, and which of them a member of each kind takes by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import onnx

from optimization.compress.columns import drop_columns
from optimization.compress.compact_trees import compact_trees
from optimization.compress.distil import distil
from optimization.compress.early_stop import early_stop
from optimization.compress.prune_network import prune_network
from optimization.compress.prune_trees import prune_trees
from optimization.compress.quantise import int8_dynamic, int8_weights
from optimization.compress.tidy import tidy
from optimization.rows import Rows
from optimization.train.learner import Fitted
from optimization.train.trained import Trained
from predictors.core.errors import InvalidInput

Reduce = Callable[[Fitted, Trained, Rows, int], Fitted]
"""A smaller residual from the one so far, the uncompressed member, the matured rows and the seed."""
Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto]


@dataclass(frozen=True, slots=True)
class Step:
    """One technique: structural if it makes another model, numeric if it writes the same one differently."""

    name: str
    kinds: tuple[str, ...]
    reduce: Reduce | None = None
    rewrite: Rewrite | None = None

    @property
    def structural(self) -> bool:
        """Whether the answers may change as long as their loss does not."""
        return self.reduce is not None


_NETWORKS = ("lstm", "transformer")
STEPS = {
    step.name: step
    for step in (
        Step("early-stop", ("xgboost",), reduce=early_stop),
        Step("prune-trees", ("xgboost",), reduce=prune_trees),
        Step("distil", _NETWORKS, reduce=distil),
        Step("distil-pair", _NETWORKS, reduce=partial(distil, seeds=2)),
        Step("prune", _NETWORKS, reduce=prune_network),
        Step("columns", (*_NETWORKS, "xgboost"), rewrite=drop_columns),
        Step("compact-trees", ("xgboost",), rewrite=compact_trees),
        Step("int8", _NETWORKS, rewrite=int8_weights),
        Step("int8-dynamic", _NETWORKS, rewrite=int8_dynamic),
        Step("tidy", (*_NETWORKS, "xgboost"), rewrite=tidy),
    )
}
DEFAULT_STEPS: dict[str, tuple[str, ...]] = {
    "lstm": ("distil", "prune", "columns", "int8", "tidy"),
    "transformer": ("distil-pair", "prune", "columns", "int8", "tidy"),
    "xgboost": ("early-stop", "prune-trees", "columns", "compact-trees", "tidy"),
}


def check_steps(kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """The steps in the order in which they work: as `STEPS` lists them.

    Raises
    ------
    InvalidInput
        If a step is unknown or not for this kind of member.
    """
    for name in names:
        if name not in STEPS or kind not in STEPS[name].kinds:
            known = ", ".join(step.name for step in STEPS.values() if kind in step.kinds)
            raise InvalidInput(f"step '{name}' is not for a member {kind}; choose from {known}")
    return tuple(name for name in STEPS if name in names)


def reduced(member: Trained, names: Sequence[str], past: Rows, seed: int) -> list[Fitted]:
    """The residual before the steps and after each."""
    chain = [member.fitted]
    for name in names:
        reduce = STEPS[name].reduce
        chain.append(chain[-1] if reduce is None else reduce(chain[-1], member, past, seed))
    return chain


def exported(member: Trained, chain: Sequence[Fitted], names: Sequence[str]) -> list[bytes]:
    """The model before the steps and after each, the rewrites of the earlier steps included."""
    models = []
    for done, fitted in enumerate(chain):
        plain = replace(member, fitted=fitted).model()
        rewrites = [rewrite for name in names[:done] if (rewrite := STEPS[name].rewrite) is not None]
        models.append(_rewritten(plain, rewrites) if rewrites else plain)
    return models


def _rewritten(model: bytes, rewrites: Sequence[Rewrite]) -> bytes:
    proto = onnx.load_from_string(model)
    for rewrite in rewrites:
        proto = rewrite(proto)
    return bytes(proto.SerializeToString(deterministic=True))

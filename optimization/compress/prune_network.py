"""Structured pruning: whole hidden units, heads and feed-forward units leave a network, which then recovers.

What leaves is what reaches the rest of the network least: parts are ranked by the product of the
norms of their weights in and out (cf. Li et al. 2017, arXiv:1608.08710). What stays is trained
shortly on the parent's answers.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from optimization.compress.distil import imitate
from optimization.rows import Rows
from optimization.train.learner import Fitted
from optimization.train.lstm import Lstm
from optimization.train.network import NetworkResidual, Parameters
from optimization.train.trained import Trained
from optimization.train.transformer import Transformer


def prune_network(current: Fitted, parent: Trained, past: Rows, seed: int) -> NetworkResidual:
    """Prune every seed by itself and let them recover together."""
    assert isinstance(current, NetworkResidual)
    network = current.network
    assert isinstance(network, Lstm | Transformer)
    seeds = [{name: value[k : k + 1] for name, value in current.parameters.items()} for k in range(network.seeds)]
    if isinstance(network, Lstm):
        smaller: Lstm | Transformer = replace(network, width=max(1, network.width // 2))
        pruned = [_prune_lstm(one, smaller.width) for one in seeds]
    else:
        heads = network.heads // 2 if network.heads % 2 == 0 else network.heads
        smaller = replace(network, heads=heads, hidden=max(1, network.hidden // 2))
        pruned = [_prune_transformer(one, network.heads, smaller.heads, smaller.hidden) for one in seeds]
    parameters = {name: torch.cat([one[name] for one in pruned]) for name in pruned[0]}
    return imitate(replace(current, network=smaller, parameters=parameters), parent, past, seed)


def _prune_lstm(old: Parameters, width: int) -> Parameters:
    """Keep ``width`` units of the state."""
    gates = torch.arange(old["bias"].shape[1]).reshape(4, -1)
    units = _strongest(old["head"][0].norm(dim=1) * old["input"][0][gates].norm(dim=(0, 2)), width)
    rows = gates[:, units].flatten()
    return {
        "input": old["input"][:, rows],
        "recurrent": old["recurrent"][:, rows][:, :, units],
        "bias": old["bias"][:, rows],
        "head": old["head"][:, units],
        "head_bias": old["head_bias"],
    }


def _prune_transformer(old: Parameters, heads: int, heads_kept: int, hidden_kept: int) -> Parameters:
    """Keep some heads of ``heads``, and some units of the feed-forward part."""
    hidden = _strongest(old["expand"][0].norm(dim=0) * old["contract"][0].norm(dim=1), hidden_kept)
    by_head = torch.arange(old["attention"].shape[2]).reshape(3, heads, -1)
    reach = old["attention"][0][:, by_head[2]].norm(dim=(0, 2)) * old["mix"][0][by_head[0]].norm(dim=(1, 2))
    stronger = _strongest(reach, heads_kept)
    parts, mixed = by_head[:, stronger].flatten(), by_head[0, stronger].flatten()
    return old | {
        "attention": old["attention"][:, :, parts],
        "attention_bias": old["attention_bias"][:, parts],
        "mix": old["mix"][:, mixed],
        "expand": old["expand"][:, :, hidden],
        "expand_bias": old["expand_bias"][:, hidden],
        "contract": old["contract"][:, hidden],
    }


def _strongest(reach: Tensor, count: int) -> Tensor:
    """Positions, ascending, of the ``count`` parts that stay."""
    return reach.argsort(descending=True, stable=True)[:count].sort().values

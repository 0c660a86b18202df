"""Fewer networks that imitate the mean of all seeds (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from optimization.rows import Rows
from optimization.train.learner import Fitted
from optimization.train.lstm import Lstm
from optimization.train.network import BATCH_ROWS, NetworkLearner, NetworkResidual
from optimization.train.trained import Trained
from optimization.train.transformer import Transformer

STEPS = 400
"""Of the optimiser, however few the rows: a short history needs them as much as a long one."""


def distil(current: Fitted, parent: Trained, past: Rows, seed: int, seeds: int = 1) -> NetworkResidual:
    """Begin with the first of the seeds and train them on the parent's answers."""
    assert isinstance(current, NetworkResidual)
    assert isinstance(current.network, Lstm | Transformer)
    first = {name: value[:seeds].clone() for name, value in current.parameters.items()}
    network = replace(current.network, seeds=len(first["head"]))
    return imitate(replace(current, network=network, parameters=first), parent, past, seed)


def imitate(student: NetworkResidual, parent: Trained, past: Rows, seed: int) -> NetworkResidual:
    """Train a student on the residual of its parent: known for every row, and free of the target's noise.

    An imitation varies less than what it imitates, and so gives away a part of what the residual
    gains; mean and standard deviation over the rows are made those of the parent's.
    """
    assert isinstance(parent.learner, NetworkLearner)
    taught = parent.fitted.residual(past.tabular, past.sequence).astype(np.float64)
    old, epochs = parent.learner.training, math.ceil(STEPS / math.ceil(len(past) / BATCH_ROWS))
    # A warm start halves the rate; a student without noise to fear can take the whole of it.
    learner = replace(
        parent.learner, network=student.network, training=replace(old, rate=2.0 * old.rate, warm_epochs=epochs)
    )
    fitted = learner.fit(past.tabular, past.sequence, taught, seed, student)
    learned = fitted.residual(past.tabular, past.sequence).astype(np.float64)
    spread = np.maximum(learned.std(axis=0), 1e-9)
    scale = taught.std(axis=0) / spread
    shift = taught.mean(axis=0) - scale * learned.mean(axis=0)
    head, bias = fitted.parameters["head"], fitted.parameters["head_bias"]
    wider = {
        "head": head * torch.tensor(scale, dtype=torch.float32),
        "head_bias": bias * torch.tensor(scale, dtype=torch.float32) + torch.tensor(shift, dtype=torch.float32),
    }
    return replace(fitted, parameters={**fitted.parameters, **wider})

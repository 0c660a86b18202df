"""The residual network `transformer`."""

from __future__ import annotations

from network_conformance import NetworkConformance

from optimization.train.transformer import TRANSFORMER


class TestTransformer(NetworkConformance):
    learner = TRANSFORMER

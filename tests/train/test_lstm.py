"""The residual network `lstm`."""

from __future__ import annotations

from network_conformance import NetworkConformance

from optimization.train.lstm import LSTM


class TestLstm(NetworkConformance):
    learner = LSTM

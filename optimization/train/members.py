"""Every residual learner by the kind of member that it makes."""

from __future__ import annotations

from optimization.train.learner import Learner
from optimization.train.lstm import LSTM
from optimization.train.transformer import TRANSFORMER
from optimization.train.xgboost import XGBOOST

LEARNERS: dict[str, Learner] = {learner.kind: learner for learner in (LSTM, TRANSFORMER, XGBOOST)}

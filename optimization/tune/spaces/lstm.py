"""What of the recurrent residual is searched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from optuna.trial import BaseTrial

from optimization.train.lstm import LSTM, Lstm
from optimization.train.network import NetworkLearner
from optimization.tune.spaces import network
from predictors.wavelet.spec import FeatureSpec

HALVED = ("seeds",)
_BARS = (8, 16, 32)
_STEP_BARS = (1, 2, 4)
_WIDTHS = (4, 24)


def suggest(trial: BaseTrial, spec: FeatureSpec) -> NetworkLearner:
    """A learner of the search."""
    return replace(
        LSTM,
        network=Lstm(
            bars=trial.suggest_categorical("bars", [bars for bars in _BARS if bars <= spec.sequence_bars]),
            step_bars=trial.suggest_categorical("step_bars", _STEP_BARS),
            width=trial.suggest_int("width", *_WIDTHS, step=4),
            seeds=_network(LSTM).seeds,
        ),
        training=network.training(trial, LSTM.training.warm_epochs),
        share=network.share(trial),
    )


def size_of(learner: NetworkLearner) -> dict[str, Any]:
    """The settings that `suggest_size` varies."""
    size = _network(learner)
    return {"bars": size.bars, "step_bars": size.step_bars, "width": size.width, "seeds": size.seeds}


def suggest_size(trial: BaseTrial, around: NetworkLearner, spec: FeatureSpec) -> NetworkLearner:
    """A faster or slower form of a learner."""
    return replace(
        around,
        network=Lstm(
            bars=trial.suggest_categorical("bars", [bars for bars in _BARS if bars <= spec.sequence_bars]),
            step_bars=trial.suggest_categorical("step_bars", _STEP_BARS),
            width=trial.suggest_int("width", *_WIDTHS, step=4),
            seeds=trial.suggest_int("seeds", 1, 5),
        ),
    )


def _network(learner: NetworkLearner) -> Lstm:
    assert isinstance(learner.network, Lstm)
    return learner.network


DEFAULTS: dict[str, Any] = network.defaults(LSTM) | {k: v for k, v in size_of(LSTM).items() if k != "seeds"}

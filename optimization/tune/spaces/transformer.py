"""What of the attentive residual is searched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from optuna.trial import BaseTrial

from optimization.train.network import NetworkLearner
from optimization.train.transformer import TRANSFORMER, Transformer
from optimization.tune.spaces import network
from predictors.wavelet.spec import FeatureSpec

HALVED = ("seeds",)
_BARS = (16, 32, 64)
_PATCH_BARS = (4, 8, 16)
_WIDTHS = (8, 24)
_HEADS = (1, 2, 4)
_HIDDEN_PER_WIDTH = (1, 2, 3)


def suggest(trial: BaseTrial, spec: FeatureSpec) -> NetworkLearner:
    """A learner of the search."""
    width = trial.suggest_int("width", *_WIDTHS, step=8)
    return replace(
        TRANSFORMER,
        network=Transformer(
            bars=trial.suggest_categorical("bars", [bars for bars in _BARS if bars <= spec.sequence_bars]),
            patch_bars=trial.suggest_categorical("patch_bars", _PATCH_BARS),
            width=width,
            heads=trial.suggest_categorical("heads", _HEADS),
            hidden=width * trial.suggest_categorical("hidden_per_width", _HIDDEN_PER_WIDTH),
            seeds=_network(TRANSFORMER).seeds,
        ),
        training=network.training(trial, TRANSFORMER.training.warm_epochs),
        share=network.share(trial),
    )


def size_of(learner: NetworkLearner) -> dict[str, Any]:
    """The settings that `suggest_size` varies."""
    size = _network(learner)
    return {
        "bars": size.bars,
        "patch_bars": size.patch_bars,
        "width": size.width,
        "hidden_per_width": size.hidden // size.width,
        "seeds": size.seeds,
    }


def suggest_size(trial: BaseTrial, around: NetworkLearner, spec: FeatureSpec) -> NetworkLearner:
    """A faster or slower form of a learner."""
    size = _network(around)
    width = trial.suggest_int("width", *_WIDTHS, step=8)
    return replace(
        around,
        network=Transformer(
            bars=trial.suggest_categorical("bars", [bars for bars in _BARS if bars <= spec.sequence_bars]),
            patch_bars=trial.suggest_categorical("patch_bars", _PATCH_BARS),
            width=width,
            heads=size.heads,
            hidden=width * trial.suggest_categorical("hidden_per_width", _HIDDEN_PER_WIDTH),
            seeds=trial.suggest_int("seeds", 1, 5),
        ),
    )


def _network(learner: NetworkLearner) -> Transformer:
    assert isinstance(learner.network, Transformer)
    return learner.network


DEFAULTS: dict[str, Any] = (
    network.defaults(TRANSFORMER)
    | {k: v for k, v in size_of(TRANSFORMER).items() if k != "seeds"}
    | {"heads": _network(TRANSFORMER).heads}
)

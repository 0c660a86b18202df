"""What of the training of both networks is searched."""

from __future__ import annotations

from typing import Any

from optuna.trial import BaseTrial

from optimization.train.network import NetworkLearner, Training


def defaults(learner: NetworkLearner) -> dict[str, Any]:
    """The values that `training` and `share` give a learner's own settings for."""
    how = learner.training
    return {
        "rate": how.rate,
        "decay": how.decay,
        "dropout": how.dropout,
        "epochs": how.epochs,
        "share_h1": learner.share[0],
        "share_h5": learner.share[1],
    }


def training(trial: BaseTrial, warm_epochs: int) -> Training:
    """How long and how hard a network is trained; a refit's epochs stay."""
    return Training(
        rate=trial.suggest_float("rate", 1e-3, 1e-2, log=True),
        decay=trial.suggest_float("decay", 0.01, 0.5, log=True),
        dropout=trial.suggest_float("dropout", 0.0, 0.4),
        epochs=trial.suggest_int("epochs", 4, 14),
        warm_epochs=warm_epochs,
    )


def share(trial: BaseTrial) -> tuple[float, float]:
    """Part of the residual that is kept at each horizon."""
    return trial.suggest_float("share_h1", 0.1, 0.7), trial.suggest_float("share_h5", 0.05, 0.6)

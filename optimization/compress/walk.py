"""A member and each of its compressed forms, walked forward side by side and made from all the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optimization.compress.steps import exported, reduced
from optimization.parallel import Advance, Arrays
from optimization.rows import Rows
from optimization.train.backbone import fit_backbone
from optimization.train.learner import Fitted
from optimization.train.trained import Trained
from optimization.walkforward import Schedule, fit_residual
from predictors.core.errors import WavecastError
from predictors.members.onnx_member import OnnxMember
from predictors.wavelet.spec import FeatureSpec


def compress_member(
    rows: Rows,
    spec: FeatureSpec,
    trained: bytes,
    names: tuple[str, ...],
    schedule: Schedule,
    seed: int,
    *,
    advance: Advance,
) -> Arrays:
    """Apply the same steps inside every fold, and to the member itself.

    Each fold refits the member as training did and compresses that fit with nothing but the fold's
    own rows, so the forecasts are out of fold for the compressed forms too and calibrate the ensemble.

    Parameters
    ----------
    trained
        Content of the member's sidecar.
    names
        Steps, in order.

    Returns
    -------
    ``log_variance`` float64 (n + 1, N, H) of the member and after each of the n steps; ``model_i``
    and ``trained_i`` the bytes of the member itself and after each step.

    Raises
    ------
    WavecastError
        If a forecast is not a finite number.
    """
    member = Trained.from_bytes(trained, "sidecar")
    learner = member.learner
    out = np.full((len(names) + 1, *rows.log_target.shape), np.nan)
    chain: list[Fitted] = []
    fitted_at = -1
    for refit in schedule.refits(int(rows.origin[-1])):
        past = rows.matured_by(refit)
        fold = Trained(learner, fit_backbone(past.tabular, past.log_target, spec), member.fitted)
        if not chain or refit - fitted_at >= learner.refit_every:
            previous = chain[0] if chain else None
            fitted_at = refit
            chain = reduced(
                replace(fold, fitted=fit_residual(past, fold.backbone, learner, seed, previous)), names, past, seed
            )
        chosen = (rows.origin >= refit) & (rows.origin < refit + schedule.refit_every)
        for place, model in enumerate(exported(fold, chain, names)):
            answers = OnnxMember(model).log_variance_each(rows.tabular[chosen], rows.sequence[chosen])
            if not np.isfinite(answers).all():
                step = f"after step '{names[place - 1]}'" if place else "before any step"
                raise WavecastError(f"{learner.kind}: {step} a forecast of the fold at bar {refit} is not a number")
            out[place, chosen] = answers
        advance()
    past = rows.matured_by(int(rows.origin[-1]))
    chain = reduced(member, names, past, seed)
    arrays: Arrays = {"log_variance": out}
    for place, (fitted, model) in enumerate(zip(chain, exported(member, chain, names), strict=True)):
        arrays[f"model_{place}"] = np.frombuffer(model, np.uint8)
        arrays[f"trained_{place}"] = np.frombuffer(replace(member, fitted=fitted).to_bytes(), np.uint8)
    advance()
    return arrays

"""Walk-forward forecasts of one member: refitted on the matured past, served by ONNX Runtime at batch 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.rows import Rows
from optimization.train.backbone import Backbone, fit_backbone
from optimization.train.export import export_member
from optimization.train.learner import Fitted, Learner
from predictors.members.onnx_member import OnnxMember
from predictors.wavelet.spec import FeatureSpec


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a walk-forward refits.

    Attributes
    ----------
    first_origin
        Timeline position of the first forecast and the first fit.
    refit_every
        Bars between refits of the backbone; learners refit at the first multiple of it that is
        not below their own ``refit_every``.
    """

    first_origin: int
    refit_every: int

    def refits(self, last_origin: int) -> range:
        """Timeline positions of the refits."""
        return range(self.first_origin, last_origin + 1, self.refit_every)


def walk_forward(
    rows: Rows,
    spec: FeatureSpec,
    learner: Learner | None,
    schedule: Schedule,
    seed: int,
    advance: Callable[[], None],
    without: tuple[str, ...] = (),
) -> NDArray[np.float64]:
    """Out-of-sample log-variances of a member, or of the backbone alone.

    Parameters
    ----------
    rows
        All origins.
    learner
        Residual learner, ``None`` for the backbone alone.
    advance
        Called after each refit's forecasts, for a progress bar.
    without
        Feature groups left out of the backbone, for ablations.

    Returns
    -------
    float64 (N, H); NaN before ``schedule.first_origin``. A forecast at origin t was made by a fit
    on rows whose targets had matured at its refit origin, not later than t.
    """
    out = np.full(rows.log_target.shape, np.nan)
    fitted: Fitted | None = None
    fitted_at = -1
    for refit in schedule.refits(int(rows.origin[-1])):
        past = rows.matured_by(refit)
        backbone = fit_backbone(past.tabular, past.log_target, spec, without)
        if learner is not None and (fitted is None or refit - fitted_at >= learner.refit_every):
            fitted, fitted_at = fit_residual(past, backbone, learner, seed, fitted), refit
        member = OnnxMember(member_model(backbone, learner, fitted))
        chosen = (rows.origin >= refit) & (rows.origin < refit + schedule.refit_every)
        out[chosen] = member.log_variance_each(rows.tabular[chosen], rows.sequence[chosen])
        advance()
    return out


def fit_residual(past: Rows, backbone: Backbone, learner: Learner, seed: int, previous: Fitted | None) -> Fitted:
    """Fit a learner on what the backbone leaves unexplained."""
    residual = past.log_target - backbone.log_variance(past.tabular)
    return learner.fit(past.tabular, past.sequence, residual, seed, previous)


def member_model(backbone: Backbone, learner: Learner | None, fitted: Fitted | None) -> bytes:
    """The member as ONNX: backbone and the learner's share of its residual."""
    if learner is None or fitted is None:
        return export_member(backbone, None, np.zeros(0))
    return export_member(backbone, fitted.graph(), np.array(learner.share))

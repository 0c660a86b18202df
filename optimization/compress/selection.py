"""The ensemble of the compressed members: are its weights worth having, and each of its members?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimization.backtest.engine import ENSEMBLE, combine_walk
from optimization.backtest.settings import Plan
from optimization.compress.gates import GateSettings, Verdict, loss_gates
from optimization.metrics.losses import mean_loss, qlike
from optimization.rows import HORIZONS, Rows
from optimization.walkforward import Schedule
from predictors.router.combine import log_mean

FEWEST_MEMBERS = 2
Forecasts = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Selection:
    """Losses of ensembles whose weights were fitted on what had matured at each refit.

    Attributes
    ----------
    qlike
        Mean QLIKE by horizon of the ensemble, of equal weights, of the uncompressed members'
        ensemble, and without each member.
    verdicts
        By the same names, whether the loss is within the limit of the compressed ensemble's and not
        significantly worse; for the uncompressed ensemble, the other way round.
    kept
        The members that are left when those are dropped that nobody would miss.
    """

    qlike: dict[str, list[float]]
    verdicts: dict[str, list[Verdict]]
    kept: tuple[str, ...]


def select(
    rows: Rows,
    members: Forecasts,
    parents: Forecasts,
    schedule: Schedule,
    timeline: NDArray[np.int64],
    settings: GateSettings,
) -> Selection:
    """Compare the ensembles on the same origins.

    Parameters
    ----------
    members, parents
        float64 (N, H) out-of-fold log-variances by kind, of the compressed and the uncompressed members.
    timeline
        int64, all timestamps.
    """
    plan = Plan(schedule, tuple(schedule.refits(len(timeline) - 1)), schedule.first_origin)

    def losses(of: Forecasts, others: Forecasts) -> dict[str, NDArray[np.float64]]:
        variance = combine_walk(rows, of, others, plan, timeline)[1]
        return {name: losses_of(rows, variance[name]) for name in (ENSEMBLE, *others)}

    def against(one: NDArray[np.float64], other: NDArray[np.float64], name: str) -> list[Verdict]:
        return loss_gates(one, other, rows.timestamps, HORIZONS, name, settings)

    equal = log_mean(members, dict.fromkeys(members, 1.0 / len(members)))
    found = losses(members, {"equal weights": equal})
    whole = found[ENSEMBLE]
    found["uncompressed"] = losses(parents, {})[ENSEMBLE]
    verdicts = {
        "equal weights": against(whole, found["equal weights"], "equal_weights"),
        "uncompressed": against(whole, found["uncompressed"], "uncompressed"),
    }
    kept = tuple(sorted(members))
    while len(kept) > FEWEST_MEMBERS:
        without = {kind: losses({k: members[k] for k in kept if k != kind}, {})[ENSEMBLE] for kind in kept}
        missed = {kind: against(without[kind], whole, "ensemble") for kind in kept}
        found |= {f"without {kind}": loss for kind, loss in without.items() if f"without {kind}" not in found}
        verdicts |= {f"without {kind}": gates for kind, gates in missed.items() if f"without {kind}" not in verdicts}
        spare = [kind for kind in kept if all(verdict.passed for verdict in missed[kind])]
        if not spare:
            break
        least = min(spare, key=lambda kind: float(np.nanmean(without[kind], axis=0).sum()))
        kept = tuple(kind for kind in kept if kind != least)
    return Selection({name: _means(loss) for name, loss in found.items()}, verdicts, kept)


def losses_of(rows: Rows, variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """QLIKE float64 (N, H); NaN where there is no forecast or nothing to score it with."""
    out = np.full(variance.shape, np.nan)
    made = np.isfinite(variance)
    out[made] = qlike(rows.realised[made], variance[made])
    return out


def _means(losses: NDArray[np.float64]) -> list[float]:
    return [mean_loss(losses[:, h]).mean for h in range(losses.shape[1])]

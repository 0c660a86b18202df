"""Inner folds: blocks in order of time, all before the part of the history that tuning never touches.

Bars from ``tune_until`` on are cut off before a feature is computed, so nothing of theirs can reach
a fold; a target that would need them is unknown. A fold trains on the rows whose targets had
matured when its block begins (the purge) and forecasts the block with that one fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from optimization.data.bars import BarSeries, BarTable, bar_table
from optimization.ensemble import smearing_factor
from optimization.metrics.losses import mean_loss, qlike
from optimization.rows import Rows
from optimization.train.backbone import Backbone, fit_backbone
from optimization.train.learner import Fitted, Learner
from predictors.core.errors import DataError, InvalidInput, WavecastError
from predictors.wavelet.spec import FeatureSpec

FIRST_TEST_BAR = 500
"""Bars that train at least, as in a backtest."""
FIRST_TEST_SHARE = 0.4
"""And the part of a longer history that trains at least."""
FEWEST_FOLD_BARS = 60
TUNED_SHARE = 0.7
"""Part of the timeline that tuning may see."""

Blocks = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """One block, and all of it that does not depend on the trial.

    Attributes
    ----------
    past
        Rows to train on.
    residual
        float64 (N, H): what the backbone leaves unexplained of them; NaN where not matured.
    backbone
        Fitted on ``past``.
    test
        Rows of the block.
    linear
        float64 (n, H): the backbone's log-variances of the block.
    smearing
        float64 (H,): of the backbone's errors on ``past``. Every candidate is given the same, so
        that the folds compare logarithms and no candidate profits from errors it has seen.
    reference
        float64 (H,): QLIKE that losses are divided by, so that blocks and horizons weigh alike.
    """

    past: Rows
    residual: NDArray[np.float64]
    backbone: Backbone
    test: Rows
    linear: NDArray[np.float64]
    smearing: NDArray[np.float64]
    reference: NDArray[np.float64]

    def losses(self, log_variance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean QLIKE (H,) of log-variances (n, H).

        Raises
        ------
        WavecastError
            If a forecast is not finite, or a horizon has no realised value to score.
        """
        if not np.isfinite(log_variance).all():
            raise WavecastError("the loss is NaN: a forecast is NaN or infinite")
        losses = qlike(self.test.realised, np.exp(log_variance) * self.smearing)
        means = np.array([mean_loss(losses[:, h]).mean for h in range(losses.shape[1])])
        if not np.isfinite(means).all():
            raise WavecastError("the loss is NaN: a fold has no realised variance to score")
        return means

    def relative(self, log_variance: NDArray[np.float64]) -> float:
        """Mean over the horizons of QLIKE divided by the reference's; below 1 is better than it."""
        return float(np.mean(self.losses(log_variance) / self.reference))

    def score(self, learner: Learner, seed: int) -> float:
        """`relative` of the backbone plus the share of a residual that ``learner`` fits on ``past``."""
        return self.relative(self.forecast(learner, self.fit(learner, seed)))

    def fit(self, learner: Learner, seed: int) -> Fitted:
        """The learner's residual of ``past``."""
        return learner.fit(self.past.tabular, self.past.sequence, self.residual, seed)

    def forecast(self, learner: Learner, fitted: Fitted) -> NDArray[np.float64]:
        """Log-variances (n, H) of the block; in one batch, for the exported member says the same to 1e-5."""
        return self.linear + np.array(learner.share) * fitted.residual(self.test.tabular, self.test.sequence)


def timeline(table: BarTable) -> NDArray[np.int64]:
    """All timestamps of a table, ascending, ns UTC."""
    return np.unique(np.concatenate([series.timestamps for series in table.series]))


def tuning_end(table: BarTable, tune_until: str | None) -> int:
    """Timestamp (ns, UTC) of the first bar that tuning does not see.

    Raises
    ------
    InvalidInput
        If ``tune_until`` is no date or leaves no bars before it, or too few after it to compare on.
    """
    stamps = timeline(table)
    if tune_until is None:
        return int(stamps[int(TUNED_SHARE * len(stamps))])
    try:
        place = int(np.searchsorted(stamps, np.datetime64(tune_until, "ns").astype(np.int64)))
    except ValueError as wrong:
        raise InvalidInput(f"--tune-until '{tune_until}' is not a date; write it as YYYY-MM-DD") from wrong
    if not 0 < place <= len(stamps) - FEWEST_FOLD_BARS:
        raise InvalidInput(
            f"--tune-until {tune_until} leaves {place} bars before it and {len(stamps) - place} from it on; "
            f"at least {FEWEST_FOLD_BARS} must be left to compare on"
        )
    return int(stamps[place])


def before(table: BarTable, end_ns: int) -> BarTable:
    """The bars before a time; symbols that begin later are left out."""
    parts = []
    for series in table.series:
        bars = int(np.searchsorted(series.timestamps, end_ns))
        if bars:
            realised = None if series.realised is None else series.realised[:bars]
            parts.append(BarSeries(series.symbol, series.timestamps[:bars], series.bars[:bars], realised))
    return bar_table(parts, table.source, table.ignored)


def most_folds(bars: int) -> int:
    """Folds that so many bars before ``tune_until`` allow."""
    return max(0, bars - _first_test(bars)) // FEWEST_FOLD_BARS


def plan_blocks(bars: int, count: int) -> Blocks:
    """Equally long, consecutive test blocks, [first, end) on the timeline of the bars before ``tune_until``.

    Raises
    ------
    DataError
        If there are too few bars for so many folds.
    """
    if most_folds(bars) < count:
        needed = FIRST_TEST_BAR + count * FEWEST_FOLD_BARS
        raise DataError(
            f"{bars} bars before tune_until are too few for {count} folds of {FEWEST_FOLD_BARS} bars after the first "
            f"{_first_test(bars)}; give a longer history (about {max(needed, bars + 1)} bars) or fewer --folds"
        )
    edges = np.linspace(_first_test(bars), bars, count + 1).astype(int).tolist()
    return tuple(pairwise(edges))


def make_folds(
    rows: Rows, spec: FeatureSpec, blocks: Blocks, reference: Sequence[NDArray[np.float64]] | None = None
) -> list[Fold]:
    """Fit the backbone of every block.

    Parameters
    ----------
    rows
        Of the bars before ``tune_until`` alone.
    spec
        Names their columns.
    blocks
        Of `plan_blocks`.
    reference
        QLIKE (H,) by fold to divide by; by default the backbone's own.
    """
    return [_fold(rows, spec, block, None if reference is None else reference[i]) for i, block in enumerate(blocks)]


def _fold(rows: Rows, spec: FeatureSpec, block: tuple[int, int], reference: NDArray[np.float64] | None) -> Fold:
    first, end = block
    past = rows.matured_by(first)
    backbone = fit_backbone(past.tabular, past.log_target, spec)
    residual = past.log_target - backbone.log_variance(past.tabular)
    test = rows.take((rows.origin >= first) & (rows.origin < end))
    smearing = np.array([smearing_factor(residual[:, h]) for h in range(residual.shape[1])])
    linear = backbone.log_variance(test.tabular)
    fold = Fold(past, residual, backbone, test, linear, smearing, np.ones(residual.shape[1]))
    own = fold.losses(linear) if reference is None else reference
    return Fold(past, residual, backbone, test, linear, smearing, own)


def _first_test(bars: int) -> int:
    return max(FIRST_TEST_BAR, int(FIRST_TEST_SHARE * bars))

"""Coverage by calendar year, pinball loss and Winkler score from their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from optimization.metrics.intervals import coverage, pinball, winkler
from predictors.core.errors import InvalidInput


def stamps(*dates: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(dates, dtype="datetime64[ns]").astype(np.int64)


def test_coverage_is_counted_overall_and_by_the_origins_calendar_year() -> None:
    when = stamps("2007-12-30", "2007-12-31T23:59:59.999999999", "2008-01-01", "2008-06-01", "2009-01-02", "1969-12-31")
    realised = np.array([1.0, 5.0, 2.0, 0.0, np.nan, 3.0])
    result = coverage(realised, np.full(6, 1.0), np.full(6, 3.0), when)
    assert (result.scored, result.skipped) == (4, 2)
    assert result.overall == 0.75
    assert result.by_year == {1969: (1.0, 1), 2007: (0.5, 2), 2008: (1.0, 1)}
    assert result.worst_year == 2007


def test_coverage_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="none of 1 realised values"):
        coverage(np.array([np.nan]), np.ones(1), np.ones(1), stamps("2007-12-30"))


def test_pinball_is_least_at_the_sample_quantile_of_its_level() -> None:
    y = np.random.default_rng(4).chisquare(3, 2001)
    levels = np.array([0.05, 0.5, 0.95])
    grid = np.linspace(0.01, 12.0, 1200)
    loss = np.stack([pinball(y, np.full((y.size, 3), g), levels).mean(axis=0) for g in grid])
    np.testing.assert_allclose(grid[loss.argmin(axis=0)], np.quantile(y, levels), atol=0.02)


def test_pinball_and_winkler_by_hand() -> None:
    y = np.array([1.0, 4.0, 0.0])
    quantiles = np.tile([2.0, 3.0], (3, 1))
    got = pinball(y, quantiles, np.array([0.1, 0.9]))
    np.testing.assert_allclose(got[:2], [[0.9, 0.2], [0.2, 0.9]])
    assert np.isnan(got[2]).all()
    score = winkler(y, quantiles[:, 0], quantiles[:, 1], 0.2)
    np.testing.assert_allclose(score[:2], [1.0 + 10.0, 1.0 + 10.0])
    assert np.isnan(score[2])
    assert winkler(np.array([2.5]), np.array([2.0]), np.array([3.0]), 0.2)[0] == 1.0


def test_winkler_is_two_pinballs_over_the_miss_rate() -> None:
    """W = 2/a (pinball_{a/2}(low) + pinball_{1-a/2}(high)): Gneiting & Raftery 2007, section 6.2."""
    rng = np.random.default_rng(6)
    y, low = rng.chisquare(3, 500), rng.chisquare(2, 500)
    high = low + rng.chisquare(3, 500)
    both = pinball(y, np.column_stack([low, high]), np.array([0.05, 0.95])).sum(axis=1)
    np.testing.assert_allclose(winkler(y, low, high, 0.1), 2.0 / 0.1 * both, rtol=1e-12)

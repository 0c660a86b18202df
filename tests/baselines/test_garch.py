"""GARCH and GJR against arch's own filter and forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arch.univariate import GARCH, ConstantMean
from numpy.typing import NDArray

from optimization.baselines.garch import garch_forecasts
from predictors.core.errors import InvalidInput

Floats = NDArray[np.float64]
FIRST_ROW = 10


def simulated(bars: int = 700, seed: int = 5) -> tuple[Floats, Floats]:
    """Returns with clustered, asymmetric volatility, and a proxy of two thirds of it."""
    rng = np.random.default_rng(seed)
    returns, variance = np.empty(bars), 1e-4
    proxy = np.empty(bars)
    for t in range(bars):
        returns[t] = np.sqrt(variance) * rng.standard_normal()
        proxy[t] = 2.0 / 3.0 * variance * rng.chisquare(5) / 5
        variance = 2e-6 + (0.05 + 0.1 * (returns[t] < 0)) * returns[t] ** 2 + 0.87 * variance
    return returns, proxy


@pytest.mark.parametrize(("name", "asymmetric"), [("garch", 0), ("gjr", 1)])
def test_forecasts_are_archs_own_scaled_by_the_running_ratio(name: str, asymmetric: int) -> None:
    """At the refit bar 500 and 49 bars later, when only the filter has moved."""
    returns, proxy = simulated()
    got = garch_forecasts(returns, proxy, [1, 5], np.array([500, 549]), 50, FIRST_ROW).variance[name]
    scaled = returns / returns[FIRST_ROW:501].std()
    fitted = ConstantMean(scaled[FIRST_ROW:501], volatility=GARCH(1, asymmetric, 1), rescale=False).fit(disp="off")
    for place, bar in enumerate((500, 549)):
        model = ConstantMean(scaled[FIRST_ROW : bar + 1], volatility=GARCH(1, asymmetric, 1), rescale=False)
        filtered = model.fix(fitted.params)
        conditional = filtered.conditional_volatility**2
        conditional[: 501 - FIRST_ROW] = fitted.conditional_volatility**2  # with the presample value of the refit
        ratio = proxy[FIRST_ROW : bar + 1].sum() / conditional.sum()
        ahead = filtered.forecast(horizon=5, reindex=False).variance.to_numpy()[0]
        assert got[1][place] == pytest.approx(ratio * ahead[0], rel=1e-10)
        assert got[5][place] == pytest.approx(ratio * ahead.mean(), rel=1e-10)


def test_parameters_move_at_refit_bars_only() -> None:
    """Forecasts up to the second refit are those of a run that never refits; later ones are not."""
    returns, proxy = simulated()
    origins = np.arange(500, 600)
    refitted = garch_forecasts(returns, proxy, [1], origins, 50, FIRST_ROW).variance["gjr"][1]
    fixed = garch_forecasts(returns, proxy, [1], origins, 1000, FIRST_ROW).variance["gjr"][1]
    np.testing.assert_array_equal(refitted[:50], fixed[:50])
    assert (refitted[50:] != fixed[50:]).all()


@pytest.mark.parametrize("origin", [500, 537, 550, 598])
def test_forecasts_up_to_t_keep_their_bits_whatever_comes_after_t(origin: int) -> None:
    returns, proxy = simulated()
    origins = np.arange(500, 600)
    kept = origins[origins <= origin]
    whole = garch_forecasts(returns, proxy, [1, 5], origins, 50, FIRST_ROW).variance
    short = garch_forecasts(
        returns[: origin + 1].copy(), proxy[: origin + 1].copy(), [1, 5], kept, 50, FIRST_ROW
    ).variance
    other_returns, other_proxy = returns.copy(), proxy.copy()
    other_returns[origin + 1 :] *= -7.0
    other_proxy[origin + 1 :] *= 3.0
    other = garch_forecasts(other_returns, other_proxy, [1, 5], origins, 50, FIRST_ROW).variance
    for name in ("garch", "gjr"):
        for h in (1, 5):
            bits = whole[name][h][: kept.size].tobytes()
            assert short[name][h].tobytes() == bits
            assert other[name][h][: kept.size].tobytes() == bits
            assert not np.array_equal(other[name][h], whole[name][h]), "the perturbation must be able to show"


def test_the_unit_of_the_returns_does_not_matter() -> None:
    """Minute bars move by 1e-5; the optimiser must not stay at its start for them."""
    returns, proxy = simulated()
    origins = np.arange(500, 700, 20)
    daily = garch_forecasts(returns, proxy, [1], origins, 66, FIRST_ROW).variance
    minute = garch_forecasts(returns * 1e-3, proxy * 1e-6, [1], origins, 66, FIRST_ROW).variance
    for name in daily:
        np.testing.assert_allclose(minute[name][1], daily[name][1] * 1e-6, rtol=1e-4)


def test_a_refit_that_does_not_converge_is_counted_and_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimiser is stopped after one step at the third refit, from both of its starts."""
    fit, calls = ConstantMean.fit, []

    def stopped(model: ConstantMean, **options: Any) -> Any:
        calls.append(len(model.y))
        late = len(model.y) == 500 - FIRST_ROW + 2 * 66 + 1
        return fit(model, **options, options={"maxiter": 1} if late else None)

    origins = np.arange(500, 700)
    healthy = garch_forecasts(*simulated(), [1, 5], origins, 66, FIRST_ROW)
    assert healthy.unconverged == {"garch": 0, "gjr": 0}
    monkeypatch.setattr(ConstantMean, "fit", stopped)
    got = garch_forecasts(*simulated(), [1, 5], origins, 66, FIRST_ROW)
    assert got.unconverged == {"garch": 1, "gjr": 1}
    assert max(calls.count(size) for size in calls) == 4  # each model tries its last parameters, then arch's own start
    for name, by_horizon in got.variance.items():
        for horizon, forecasts in by_horizon.items():
            np.testing.assert_array_equal(forecasts[: 2 * 66], healthy.variance[name][horizon][: 2 * 66])
            assert (forecasts > 0.0).all()


def test_bad_returns_are_named() -> None:
    returns, proxy = simulated()
    with pytest.raises(InvalidInput, match="constant up to bar 500"):
        garch_forecasts(np.zeros(700), proxy, [1], np.array([500]), 66, FIRST_ROW)
    returns[99] = np.inf
    with pytest.raises(InvalidInput, match="return at bar 99 is inf"):
        garch_forecasts(returns, proxy, [1], np.array([500]), 66, FIRST_ROW)

"""The HAR family against statsmodels, and the law that no forecast reads what comes after it."""

from __future__ import annotations

import arch.data.nasdaq
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from optimization.baselines.har import fit_log_har, har_forecasts
from optimization.metrics.losses import mean_loss, qlike
from predictors.core.errors import InvalidInput

Floats = NDArray[np.float64]
FIRST_ROW = 30
ORIGINS = np.arange(150, 290)


def series(bars: int = 300, seed: int = 3) -> tuple[Floats, Floats]:
    """Proxy and returns with clustered volatility."""
    rng = np.random.default_rng(seed)
    log_variance = np.zeros(bars)
    for t in range(1, bars):
        log_variance[t] = 0.95 * log_variance[t - 1] + 0.3 * rng.standard_normal()
    variance = 1e-4 * np.exp(log_variance)
    return variance * rng.chisquare(3, bars) / 3, np.sqrt(variance) * rng.standard_normal(bars)


def mean_ahead(proxy: Floats, h: int) -> Floats:
    out = np.full(proxy.size, np.nan)
    for t in range(proxy.size - h):
        out[t] = proxy[t + 1 : t + 1 + h].mean()
    return out


def slow_columns(proxy: Floats, returns: Floats, name: str, t: int) -> list[float]:
    v = [proxy[t + 1 - w : t + 1].mean() for w in (1, 5, 22)]
    leverage = [min(returns[t + 1 - w : t + 1].mean(), 0.0) for w in (1, 5, 22)]
    levels = {"har": v, "har_wls": v}
    logs = [float(np.log(x)) for x in v]
    more = {"lhar": leverage, "lhar_z": [x / np.sqrt(v[2]) for x in leverage]}
    return [1.0, *levels.get(name, logs + more.get(name, []))]


def slow_forecast(name: str, proxy: Floats, returns: Floats, h: int, rows: NDArray[np.int64], t: int) -> float:
    """One forecast by statsmodels, from the definition."""
    y = mean_ahead(proxy, h)[rows]
    x = np.array([slow_columns(proxy, returns, name, s) for s in rows])
    now = np.array(slow_columns(proxy, returns, name, t))
    if name in ("har", "har_wls"):
        fit = sm.OLS(y, x).fit()
        if name == "har_wls":
            fit = sm.WLS(y, x, weights=1.0 / np.clip(fit.fittedvalues, y.min(), y.max())).fit()
        value = float(now @ fit.params)
    else:
        fit = sm.OLS(np.log(y), x).fit()
        value = float(np.exp(now @ fit.params) * np.exp(fit.resid).mean())
    return float(np.clip(value, y.min(), y.max()))


@pytest.mark.parametrize("h", [1, 5])
@pytest.mark.parametrize("name", ["har", "har_wls", "log_har", "lhar", "lhar_z"])
def test_a_forecast_is_that_of_statsmodels_on_the_rows_matured_at_the_last_refit(name: str, h: int) -> None:
    proxy, returns = series()
    got = har_forecasts(proxy, returns, mean_ahead(proxy, h), h, ORIGINS, 40, FIRST_ROW).variance[name]
    for place in (0, 1, 39, 40, 139):
        refit = 150 + place // 40 * 40
        rows = np.arange(FIRST_ROW, refit - h + 1)
        assert got[place] == pytest.approx(slow_forecast(name, proxy, returns, h, rows, 150 + place), rel=1e-9)


@pytest.mark.parametrize(("plain", "name"), [("ols_600", "har"), ("log_600", "log_har"), ("wls_600", "har_wls")])
def test_a_plain_fit_is_refitted_at_every_origin_on_its_last_600_matured_rows(plain: str, name: str) -> None:
    proxy, returns = series(900)
    got = har_forecasts(proxy, returns, mean_ahead(proxy, 5), 5, np.arange(800, 803), 66, FIRST_ROW).plain[plain]
    for place in range(3):
        rows = np.arange(800 + place - 5 - 599, 800 + place - 5 + 1)
        assert got[place] == pytest.approx(slow_forecast(name, proxy, returns, 5, rows, 800 + place), rel=1e-9)


def test_linear_mix_is_the_log_mean_of_its_four() -> None:
    proxy, returns = series()
    got = har_forecasts(proxy, returns, mean_ahead(proxy, 1), 1, ORIGINS, 40, FIRST_ROW).variance
    product = got["lhar"] * got["lhar_z"] * got["har_wls"] * got["log_har"]
    np.testing.assert_allclose(got["linear_mix"], product**0.25, rtol=1e-12)


def test_best_har_is_the_plain_fit_with_the_least_qlike_where_realised_counts() -> None:
    proxy, returns = series(900)
    target = mean_ahead(proxy, 1)
    origins = np.arange(700, 899)
    winners = set()
    for counted in (slice(700, 800), slice(800, 899), slice(750, 780)):
        realised = np.full(proxy.size, np.nan)
        realised[counted] = target[counted]
        got = har_forecasts(proxy, returns, target, 1, origins, 66, FIRST_ROW, realised)
        scores = {name: mean_loss(qlike(realised[origins], f)).mean for name, f in got.plain.items()}
        assert len(scores) == 9
        assert scores[got.winner] == min(scores.values())
        np.testing.assert_array_equal(got.variance["best_har"], got.plain[got.winner])
        winners.add(got.winner)
    assert len(winners) > 1


def causal_bits(proxy: Floats, returns: Floats, target: Floats, h: int, origins: NDArray[np.int64]) -> dict[str, bytes]:
    got = har_forecasts(proxy, returns, target, h, origins, 20, FIRST_ROW)
    everything = {**got.variance, **got.plain}
    del everything["best_har"]  # chosen with hindsight by definition
    return {name: forecasts.tobytes() for name, forecasts in everything.items()}


@settings(max_examples=15, deadline=None)
@given(origin=st.integers(151, 288), h=st.sampled_from([1, 5]), seed=st.integers(0, 2**32 - 1))
def test_forecasts_up_to_t_keep_their_bits_whatever_comes_after_t(origin: int, h: int, seed: int) -> None:
    proxy, returns = series()
    kept = np.arange(150, origin + 1)
    target = mean_ahead(proxy, h)
    whole = har_forecasts(proxy, returns, target, h, ORIGINS, 20, FIRST_ROW)

    truncated = mean_ahead(proxy[: origin + 1], h)
    assert causal_bits(proxy[: origin + 1].copy(), returns[: origin + 1].copy(), truncated, h, kept) == {
        name: forecasts[: kept.size].tobytes()
        for name, forecasts in {**whole.variance, **whole.plain}.items()
        if name != "best_har"
    }

    rng = np.random.default_rng(seed)
    other_proxy, other_returns = proxy.copy(), returns.copy()
    other_proxy[origin + 1 :] *= np.exp(5.0 * rng.standard_normal(proxy.size - origin - 1))
    other_returns[origin + 1 :] += rng.standard_normal(proxy.size - origin - 1)
    changed = har_forecasts(other_proxy, other_returns, mean_ahead(other_proxy, h), h, ORIGINS, 20, FIRST_ROW)
    for name, forecasts in {**whole.variance, **whole.plain}.items():
        if name != "best_har":
            later = {**changed.variance, **changed.plain}[name]
            assert later[: kept.size].tobytes() == forecasts[: kept.size].tobytes(), name
            if origin < 270:
                assert not np.array_equal(later, forecasts), "the perturbation must be able to show"


@pytest.mark.parametrize("h", [1, 5])
def test_a_row_trains_from_the_bar_on_which_its_target_is_complete(h: int) -> None:
    proxy, returns = series()
    target = mean_ahead(proxy, h)
    origin = np.array([220])  # where no forecast sits on a bound of its range
    base = causal_bits(proxy, returns, target, h, origin)
    for row, trains in ((220 - h, True), (220 - h + 1, False)):
        other = target.copy()
        other[row] *= 2.0
        bits = causal_bits(proxy, returns, other, h, origin)
        assert all((bits[name] != base[name]) is trains for name in base)


def test_a_row_whose_target_is_nan_does_not_train() -> None:
    proxy, returns = series()
    target = mean_ahead(proxy, 1)
    target[100:110] = np.nan
    got = har_forecasts(proxy, returns, target, 1, np.array([200]), 1, FIRST_ROW).variance["lhar"]
    rows = np.array([s for s in range(FIRST_ROW, 200) if not 100 <= s < 110])
    assert got[0] == pytest.approx(slow_forecast("lhar", proxy, returns, 1, rows, 200), rel=1e-9)


def test_forecasts_stay_in_the_range_of_the_training_targets() -> None:
    proxy, returns = series()
    proxy[200] *= 1e6  # no training row has seen anything like it
    proxy[230:252] *= 1e-6
    target = mean_ahead(proxy, 1)
    origins = np.array([150, 200, 251])
    known = target[FIRST_ROW:150]
    for name, forecasts in har_forecasts(proxy, returns, target, 1, origins, 1000, FIRST_ROW).variance.items():
        if name != "best_har":
            assert (forecasts >= known.min() * (1 - 1e-12)).all()
            assert (forecasts <= known.max() * (1 + 1e-12)).all()


def test_returns_that_never_fall_leave_lhar_at_log_har() -> None:
    proxy, returns = series()
    got = har_forecasts(proxy, np.abs(returns), mean_ahead(proxy, 1), 1, ORIGINS, 40, FIRST_ROW).variance
    np.testing.assert_allclose(got["lhar"], got["log_har"], rtol=1e-12)


def test_fit_log_har_gives_what_the_log_har_forecast_uses() -> None:
    proxy, returns = series()
    target = mean_ahead(proxy, 5)
    coefficients, smearing = fit_log_har(proxy, target, np.arange(FIRST_ROW, 200 - 5 + 1))
    x = np.array(slow_columns(proxy, returns, "log_har", 200))
    forecast = har_forecasts(proxy, returns, target, 5, np.array([200]), 1, FIRST_ROW).variance["log_har"]
    assert forecast[0] == pytest.approx(np.exp(x @ coefficients) * smearing, rel=1e-9)


def test_fit_log_har_pools_symbols_that_stand_one_after_the_other() -> None:
    one, two = series(seed=1)[0], series(seed=2)[0]
    target = np.concatenate([mean_ahead(one, 1), mean_ahead(two, 1)])
    rows = np.concatenate([np.arange(21, 299), 300 + np.arange(21, 299)])
    coefficients, smearing = fit_log_har(np.concatenate([one, two]), target, rows)
    x = np.array([slow_columns(v, v, "log_har", s) for v in (one, two) for s in range(21, 299)])
    oracle = sm.OLS(np.log(target[rows]), x).fit()
    np.testing.assert_allclose(coefficients, oracle.params, rtol=1e-9)
    assert smearing == pytest.approx(float(np.exp(oracle.resid).mean()), rel=1e-12)


def test_bad_input_is_named() -> None:
    proxy, returns = series()
    target = mean_ahead(proxy, 1)
    with pytest.raises(InvalidInput, match="first_row is 20"):
        har_forecasts(proxy, returns, target, 1, ORIGINS, 66, 20)
    with pytest.raises(InvalidInput, match="origin 60 has 30 training rows"):
        har_forecasts(proxy, returns, target, 1, np.array([60]), 66, FIRST_ROW)
    proxy[77] = 0.0
    with pytest.raises(InvalidInput, match="proxy at bar 77 is 0"):
        har_forecasts(proxy, returns, target, 1, ORIGINS, 66, FIRST_ROW)
    proxy[77], returns[88] = 1e-4, np.nan
    with pytest.raises(InvalidInput, match="return at bar 88 is nan"):
        har_forecasts(proxy, returns, target, 1, ORIGINS, 66, FIRST_ROW)


def test_nasdaq_scores_are_those_of_an_independent_fit() -> None:
    """QLIKE from 2006, h = 1, first origin 500, refit every 66 bars, measured by other code beforehand."""
    frame = arch.data.nasdaq.load()
    log_prices = np.log(frame[["Open", "High", "Low", "Close"]].to_numpy(np.float64))
    high_low, close_open = log_prices[:, 1] - log_prices[:, 2], log_prices[:, 3] - log_prices[:, 0]
    proxy = 0.5 * high_low**2 - (2 * np.log(2) - 1) * close_open**2
    floors = 0.05 * frame.assign(v=proxy)["v"].rolling(128, min_periods=1).median().to_numpy()
    returns = np.diff(log_prices[:, 3], prepend=log_prices[0, 0])
    floored = np.maximum(proxy, floors)
    origins = np.arange(500, proxy.size)
    forecasts = har_forecasts(floored, returns, mean_ahead(floored, 1), 1, origins, 66, 127).variance
    scored = frame.index[origins] >= "2006-01-01"
    realised = mean_ahead(proxy, 1)[origins]
    score = {name: mean_loss(qlike(realised, f)[scored]).mean for name, f in forecasts.items()}
    assert score["log_har"] == pytest.approx(0.3501, abs=3e-4)
    assert score["lhar"] == pytest.approx(0.3255, abs=3e-4)

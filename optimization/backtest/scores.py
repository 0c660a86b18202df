"""The report as data: losses, tests of significance, intervals, ablations and the control."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimization.backtest.engine import ABLATIONS, ENSEMBLE, LINEAR, BacktestResult
from optimization.backtest.settings import BacktestSettings
from optimization.data.bars import BarTable
from optimization.ensemble import QUANTILE_LEVELS
from optimization.metrics.confidence_set import model_confidence_set
from optimization.metrics.diebold_mariano import diebold_mariano_panel, holm
from optimization.metrics.directional import directional_accuracy, r2_against
from optimization.metrics.intervals import coverage, pinball, winkler
from optimization.metrics.losses import log_r2, mean_loss, qlike, squared_error
from optimization.rows import HORIZONS
from optimization.train.members import LEARNERS

Floats = NDArray[np.float64]

RIVALS = ("lhar", "best_har", "gjr", "ewma", LINEAR)
"""Models against which every other is tested."""
_BY_SYMBOL = (ENSEMBLE, LINEAR, "lhar", "best_har")
CONFIDENCE_SET_SIZE = 0.10
COVERAGE_MISS = 0.10


def score(result: BacktestResult, table: BarTable, settings: BacktestSettings) -> dict[str, Any]:
    """Everything that the report says, as plain JSON types; figures that do not exist are ``None``."""
    rows = result.rows
    return {
        "data": {
            "source": table.source,
            "fingerprint": table.fingerprint,
            "symbols": [series.symbol for series in table.series],
            "bars": sum(len(series.bars) for series in table.series),
            "first_origin": _date(rows.timestamps[0]),
            "last_origin": _date(rows.timestamps[-1]),
            "origins": len(rows),
            "floored_origins": int((rows.floored_bars > 0).sum()),
            "poor_origins": int((~rows.learnable).sum()),
        },
        "settings": {
            "proxy": settings.proxy,
            "start": settings.start,
            "refit_every": settings.refit_every,
            "quick": settings.quick,
            "seed": settings.seed,
        },
        "horizons": {str(horizon): _horizon(result, h, horizon, settings.seed) for h, horizon in enumerate(HORIZONS)},
        "weights": [{"from": _date(at), **weights} for at, weights in result.weights],
        "best_har_is": result.winners,
        "garch_refits_unconverged": result.unconverged,
    }


def _horizon(result: BacktestResult, h: int, horizon: int, seed: int) -> dict[str, Any]:
    rows = result.rows
    realised = rows.realised[:, h]
    losses = {name: qlike(realised, variance[:, h]) for name, variance in result.variance.items()}
    shown = {name: loss for name, loss in losses.items() if not _is_plain(name)}
    stays = model_confidence_set(
        {name: _by_time(loss, rows.timestamps) for name, loss in shown.items()}, CONFIDENCE_SET_SIZE, seed=seed
    )
    rivals = [name for name in RIVALS if name in losses]
    adjusted = {
        rival: holm(
            {
                name: diebold_mariano_panel(losses[name], losses[rival], rows.timestamps, horizon).p_less
                for name in (ENSEMBLE, *LEARNERS)
            }
        )
        for rival in rivals
    }
    models = []
    for name, loss in shown.items():
        variance = result.variance[name][:, h]
        against = {}
        for rival in rivals:
            if rival != name:
                against[rival] = _against(loss, losses[rival], rows.timestamps, horizon)
                against[rival]["p_holm"] = adjusted[rival].get(name)
        models.append(
            {
                "model": name,
                "qlike": mean_loss(loss).mean,
                "mse": mean_loss(squared_error(realised, variance)).mean,
                "log_r2": log_r2(realised, variance),
                "in_confidence_set": name in stays.included,
                "confidence_set_p": stays.p_values[name],
                "against": against,
            }
        )
    scored = mean_loss(losses[ENSEMBLE])
    return {
        "scored": scored.scored,
        "skipped": scored.skipped,
        "models": sorted(models, key=lambda row: row["qlike"]),
        "plain_har": {name: mean_loss(loss).mean for name, loss in losses.items() if _is_plain(name)},
        "by_symbol": _by_symbol(result, losses),
        "intervals": _intervals(result, h),
        "ablations": [
            {
                "ablation": name,
                "without": list(ABLATIONS[name]),
                "qlike": mean_loss(loss).mean,
                "against_linear": _against(loss, losses[LINEAR], rows.timestamps, horizon),
            }
            for name, loss in ((name, qlike(realised, v[:, h])) for name, v in result.ablations.items())
        ]
        + [
            {
                "ablation": f"{kind} without its residual (= linear)",
                "without": ["residual"],
                "qlike": mean_loss(losses[LINEAR]).mean,
                "against_member": _against(losses[LINEAR], losses[kind], rows.timestamps, horizon),
            }
            for kind in LEARNERS
        ],
        "control": _control(result, h, horizon),
    }


def _is_plain(name: str) -> bool:
    return name.startswith(("har_ols_", "har_log_", "har_wls_"))


def _against(loss: Floats, rival: Floats, timestamps: NDArray[np.int64], horizon: int) -> dict[str, Any]:
    test = diebold_mariano_panel(loss, rival, timestamps, horizon)
    return {
        "ratio": mean_loss(loss).mean / mean_loss(rival).mean,
        "t": _finite(test.t),
        "p_less": test.p_less,
    }


def _by_symbol(result: BacktestResult, losses: dict[str, Floats]) -> list[dict[str, Any]]:
    """Mean losses of each symbol; of a symbol without an outcome to score there are none."""
    symbols = np.unique(result.rows.symbol)
    if len(symbols) == 1:
        return []
    out = []
    for symbol in symbols:
        own = {name: mean_loss(losses[name][result.rows.symbol == symbol]) for name in _BY_SYMBOL}
        if own[ENSEMBLE].scored:
            out.append({"symbol": int(symbol), **{name: loss.mean for name, loss in own.items()}})
    return out


def _intervals(result: BacktestResult, h: int) -> dict[str, Any]:
    rows = result.rows
    realised, quantiles = rows.realised[:, h], result.quantiles[:, h]
    made = np.isfinite(quantiles).all(axis=1)
    realised, quantiles, stamps = realised[made], quantiles[made], rows.timestamps[made]
    outer = coverage(realised, quantiles[:, 0], quantiles[:, -1], stamps)
    inner = coverage(realised, quantiles[:, 1], quantiles[:, -2], stamps)
    known = np.isfinite(realised) & (realised != 0.0)
    losses = pinball(realised, quantiles, np.array(QUANTILE_LEVELS))
    logs = np.log(quantiles[known])
    return {
        "coverage_90": outer.overall,
        "coverage_50": inner.overall,
        "worst_year": {"year": outer.worst_year, "coverage": outer.by_year[outer.worst_year][0]},
        "by_year": [{"year": y, "coverage": share, "n": n} for y, (share, n) in sorted(outer.by_year.items())],
        "pinball": {str(q): mean_loss(losses[:, i]).mean for i, q in enumerate(QUANTILE_LEVELS)},
        "winkler_90_log": mean_loss(winkler(np.log(realised[known]), logs[:, 0], logs[:, -1], COVERAGE_MISS)).mean,
        "calibration": [
            {"level": q, "observed": float((realised[known] <= quantiles[known, i]).mean())}
            for i, q in enumerate(QUANTILE_LEVELS)
        ],
    }


def _control(result: BacktestResult, h: int, horizon: int) -> dict[str, Any]:
    control, stamps = result.control, result.rows.timestamps
    realised, forecast, constant = control.realised[:, h], control.forecast[:, h], control.constant[:, h]
    signs = directional_accuracy(realised, forecast)
    test = diebold_mariano_panel((realised - forecast) ** 2, (realised - constant) ** 2, stamps, horizon)
    r2 = r2_against(realised, forecast, constant)
    beats = r2 > 0.0 and test.p_less < 0.05
    return {
        "target": "log_return",
        "r2_against_constant": r2,
        "t": _finite(test.t),
        "p_less": test.p_less,
        "directional_accuracy": signs.accuracy,
        "always_up": signs.always_up,
        "pesaran_timmermann_p": _finite(signs.p_greater),
        "beats_a_constant": beats,
        "verdict": (
            "beats a constant at 5 %: audit the features for a leak before believing it"
            if beats
            else "does not beat a constant, as expected: returns are not forecast by these features"
        ),
    }


def _by_time(loss: Floats, timestamps: NDArray[np.int64]) -> Floats:
    """Mean loss of the symbols at each timestamp."""
    _, group = np.unique(timestamps, return_inverse=True)
    known = np.isfinite(loss)
    counts = np.bincount(group, known)
    totals = np.bincount(group, np.where(known, loss, 0.0))
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _date(stamp: int | np.int64) -> str:
    return str(np.datetime64(int(stamp), "ns").astype("datetime64[s]")).removesuffix("T00:00:00")

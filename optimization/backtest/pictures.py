"""The report's pictures as inline SVG: text stays text, colours are the page's CSS variables."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from optimization.backtest.engine import ENSEMBLE, LINEAR, BacktestResult
from optimization.metrics.losses import qlike
from optimization.report.svg import DASHES, FAINT, INK, SERIES, STYLE, legend, make_axes, to_svg
from optimization.rows import HORIZONS

RECENT_ORIGINS = 250

_LOSS_RIVALS = {"lhar": "LHAR", "best_har": "best HAR", LINEAR: "linear"}


def bars_per_year(timestamps: NDArray[np.int64]) -> int:
    """Bars a year as counted in the data, to annualise its volatility; int64 ``timestamps`` in ns, repeats allowed."""
    stamps = np.unique(timestamps)
    years = (stamps[-1] - stamps[0]) / (365.25 * 86_400e9)
    return max(1, round(float((len(stamps) - 1) / years)))


def bars_text(horizon: int | str) -> str:
    """``1 bar``, ``5 bars``."""
    return f"{horizon} bar" if int(horizon) == 1 else f"{horizon} bars"


@mpl.rc_context(STYLE)
def loss_difference(result: BacktestResult, h: int) -> str:
    """Cumulative QLIKE of the ensemble minus that of LHAR, best HAR and linear; mean over the symbols."""
    rows = result.rows
    realised = rows.realised[:, h]
    stamps, last = np.unique(rows.timestamps[::-1], return_index=True)
    ends = len(rows) - 1 - last
    dates = rows.timestamps[ends].astype("datetime64[ns]")
    loss = qlike(realised, result.variance[ENSEMBLE][:, h])
    figure, axes = make_axes(f"Ensemble minus rivals, {_ahead(h)}", "cumulative QLIKE difference")
    axes.axhline(0.0, color=INK, linewidth=0.8)
    for (rival, label), colour, dash in zip(_LOSS_RIVALS.items(), SERIES, DASHES, strict=True):
        total = np.nancumsum(loss - qlike(realised, result.variance[rival][:, h])) / len(np.unique(rows.symbol))
        axes.plot(dates, total[ends], dash, color=colour, label=label)
    legend(axes)
    alt = f"Line chart of the cumulative QLIKE of the ensemble minus its rivals, {_ahead(h)}, {_span(stamps)}"
    return to_svg(figure, f"loss-{h}", alt)


@mpl.rc_context(STYLE)
def recent_forecasts(result: BacktestResult, h: int) -> str:
    """Annualised volatility of the first symbol's last origins: realised, forecast, 90 % and 50 % bands, log scale."""
    rows = result.rows
    places = np.flatnonzero(rows.symbol == rows.symbol.min())[-RECENT_ORIGINS:]
    scale = bars_per_year(rows.timestamps)
    dates = rows.timestamps[places].astype("datetime64[ns]")
    quantiles = _annualised(result.quantiles[places, h], scale)
    forecast = _annualised(result.variance[ENSEMBLE][places, h], scale)
    realised = _annualised(np.where(rows.realised[places, h] > 0.0, rows.realised[places, h], np.nan), scale)
    figure, axes = make_axes(f"Forecast {_ahead(h)}", "volatility, % a year")
    for low, label, alpha in ((0, "90 % band", 0.18), (1, "50 % band", 0.3)):
        lower, upper = quantiles[:, low], quantiles[:, -1 - low]
        axes.fill_between(dates, lower, upper, color=SERIES[0], alpha=alpha, linewidth=0.0, label=label)
    axes.plot(dates, forecast, color=SERIES[0], label="forecast")
    axes.plot(dates, realised, ".", color=SERIES[1], markersize=3.5, label="realised")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    legend(axes)
    alt = (
        f"Volatility forecast {_ahead(h)} with bands, and what was realised, at the last {len(places)} origins, "
        f"{_span(rows.timestamps[places])}"
    )
    return to_svg(figure, f"recent-{h}", alt)


@mpl.rc_context(STYLE)
def yearly_coverage(report: dict[str, Any]) -> str:
    """Coverage of the 90 % interval by calendar year, both horizons, over the band from 88 to 92 %."""
    figure, axes = make_axes("90 % interval, by year", "realised inside")
    axes.axhspan(0.88, 0.92, color=FAINT, alpha=0.6, linewidth=0.0, label="88 to 92 %")
    axes.axhline(0.9, color=INK, linewidth=0.8, label="nominal 90 %")
    for colour, marker, (horizon, scores) in zip(SERIES, "os", report["horizons"].items(), strict=False):
        by_year = scores["intervals"]["by_year"]
        years, shares = [row["year"] for row in by_year], [row["coverage"] for row in by_year]
        axes.plot(years, shares, f"{marker}-", color=colour, markersize=4.0, linewidth=0.8, label=bars_text(horizon))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    legend(axes)
    return to_svg(figure, "coverage", "Share of realised variances inside the 90 % interval by year; table below")


@mpl.rc_context(STYLE)
def calibration(report: dict[str, Any]) -> str:
    """Observed share at or below each forecast quantile against its nominal level, both horizons."""
    figure, axes = make_axes("Calibration", "observed share below")
    axes.plot([0.0, 1.0], [0.0, 1.0], color=INK, linewidth=0.8, label="perfect")
    for colour, size, (horizon, scores) in zip(SERIES, (5.0, 9.0), report["horizons"].items(), strict=False):
        points = scores["intervals"]["calibration"]
        levels, observed = [row["level"] for row in points], [row["observed"] for row in points]
        axes.plot(levels, observed, "o", color=colour, markersize=size, fillstyle="none", label=bars_text(horizon))
    axes.set_xlabel("nominal level of the quantile")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    legend(axes)
    return to_svg(figure, "calibration", "Observed against nominal share below each forecast quantile")


@mpl.rc_context(STYLE)
def ensemble_weights(result: BacktestResult) -> str:
    """Weights of the members in force over the reported origins."""
    first, last = result.rows.timestamps[[0, -1]]
    begins = np.array([at for at, _ in result.weights])
    used = [*range(max(0, int(np.searchsorted(begins, first, side="right")) - 1), len(begins))]
    dates = np.clip([*begins[used], last], first, None).astype("datetime64[ns]")
    figure, axes = make_axes("Ensemble weights", "weight")
    for member, colour, dash in zip(sorted(result.weights[0][1]), SERIES, DASHES, strict=True):
        weights = [result.weights[i][1][member] for i in used]
        axes.step(dates, [*weights, weights[-1]], dash, where="post", color=colour, label=member)
    axes.set_ylim(0.0, 1.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    legend(axes)
    return to_svg(figure, "weights", f"Weight of each member in the ensemble, {_span(result.rows.timestamps)}")


def _annualised(variance: NDArray[np.float64], bars: int) -> NDArray[np.float64]:
    return 100.0 * np.sqrt(variance * bars)


def _ahead(h: int) -> str:
    return f"{bars_text(HORIZONS[h])} ahead"


def _span(stamps: NDArray[np.int64]) -> str:
    days = np.datetime_as_string(stamps[[0, -1]].astype("datetime64[ns]"), unit="D")
    return f"{days[0]} to {days[1]}"

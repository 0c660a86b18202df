"""``report.html``: the backtest for somebody who must decide whether to trust it; one file, no scripts, no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from optimization.backtest.engine import ENSEMBLE, LINEAR, BacktestResult
from optimization.backtest.pictures import (
    RECENT_ORIGINS,
    bars_per_year,
    bars_text,
    calibration,
    ensemble_weights,
    loss_difference,
    recent_forecasts,
    yearly_coverage,
)
from optimization.data.bars import bar_table
from optimization.data.demo import DEMO_SYMBOLS, demo_bars
from optimization.report.html import document, figure, minus, p_text, percent, power_of_ten, section, signed, table
from optimization.rows import HORIZONS

SIGNIFICANCE = 0.05
"""One-sided, of each Diebold-Mariano test."""

_RIVALS = {"lhar": "LHAR", "best_har": "best HAR", "gjr": "GJR", "ewma": "EWMA", LINEAR: "linear"}
_MODELS = {
    ENSEMBLE: "weighted mean of the members' log-variances; weights from matured forecasts only",
    "xgboost, lstm, transformer": "the members: linear plus a shrunk learned residual",
    LINEAR: "ridge on the causal wavelet and leverage features; the backbone of every member",
    "lhar": "log-HAR plus the mean return over 1, 5 and 22 bars where negative",
    "lhar_z": "LHAR with those returns in units of the 22-bar volatility",
    "log_har": "HAR on logarithms, smeared back",
    "har": "least squares on the mean variance over 1, 5 and 22 bars",
    "har_wls": "HAR weighted by the inverse of its own fit",
    "linear_mix": "log-mean of lhar, lhar_z, har_wls and log_har",
    "best_har": "the best in QLIKE of nine plain HAR fits, known only afterwards",
    "gjr, garch": "normal (1,1) on close-to-close returns, rescaled to the proxy",
    "ewma": "exponentially weighted squared returns, rescaled to the proxy",
}
_PLAIN_KINDS = {"ols": "HAR by least squares", "log": "log-HAR", "wls": "HAR by weighted least squares"}
_WORTH = {"significantly better than": "hurts", "significantly worse than": "helps"}
_SHOWN_SYMBOLS = 12


def render_page(report: dict[str, Any], result: BacktestResult) -> str:
    """The report as one HTML page; equal inputs give equal pages.

    Parameters
    ----------
    report
        From `optimization.backtest.scores.score`.
    result
        The forecasts that were scored.
    """
    title = f"Backtest of {escape(report['data']['source'])}"
    parts = [
        f"<header><h1>{title}</h1>{_facts(report)}</header>",
        section("Verdict", _verdict(report)),
        *(_scores(report, horizon) for horizon in report["horizons"]),
        _pictures(report, result),
        section("Intervals", _intervals(report)),
        section("Ablations: what each part is worth", _ablations(report)),
        section("Control: can the same features forecast returns?", _control(report)),
        _panel(report),
        section("What these numbers do not say", _caveats(report)),
    ]
    return document(title, parts)


def _facts(report: dict[str, Any]) -> str:
    data, settings = report["data"], report["settings"]
    scored = "; ".join(
        f"{scores['scored']:,} scored and {scores['skipped']:,} skipped at {bars_text(horizon)}"
        for horizon, scores in report["horizons"].items()
    )
    unconverged = sum(report["garch_refits_unconverged"].values())
    fit = "one fit (quick run)" if settings["quick"] else f"refitted every {bars_text(settings['refit_every'])}"
    start = f"started at {escape(settings['start'])}, " if settings["start"] else ""
    facts = {
        "Period": f"{data['first_origin']} to {data['last_origin']} ({data['origins']:,} forecast origins)",
        "Data": f"{data['bars']:,} bars of {_symbols(data['symbols'])}; fingerprint {data['fingerprint'][:12]}",
        "Target": f"variance by the proxy <code>{escape(settings['proxy'])}</code>, mean a bar, not annualised",
        "Settings": f"{start}{fit}, seed {settings['seed']}",
        "Scored": f"{scored} (outcome not known yet, or a realised variance of 0)",
        "Floored": f"{data['floored_origins']:,} origins look back on bars whose variance was floored",
        "Left out": f"{data['poor_origins']:,} origins too poor to learn from: not trained on, but scored",
        "Not converged": f"{unconverged:,} refits of GARCH and GJR",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items()) + "</dl>"


def _verdict(report: dict[str, Any]) -> str:
    horizons = report["horizons"]
    lead = _grouped((_judged(_ensemble(scores)["against"]["lhar"]), _at(h)) for h, scores in horizons.items())
    parts = [f'<p class="lead">The ensemble is {"; ".join(f"{judged} LHAR {where}" for judged, where in lead)}.</p>']
    for horizon, scores in horizons.items():
        row, intervals, worst = _ensemble(scores), scores["intervals"], scores["intervals"]["worst_year"]
        against = _grouped(
            (_judged(test), f"{_RIVALS[rival]} ({test['ratio']:.3f}\u00a0×, DM\u00a0t\u00a0{signed(test['t'])})")
            for rival, test in row["against"].items()
        )
        stay = sum(other["in_confidence_set"] for other in scores["models"])
        place = "among" if row["in_confidence_set"] else "not among"
        inside = "inside" if 0.88 <= intervals["coverage_90"] <= 0.92 else "outside"
        parts.append(
            f"<p><strong>{_ahead(horizon)}.</strong> By QLIKE the ensemble is "
            f"{'; '.join(f'{judged} {rivals}' for judged, rivals in against)}. The 90 % model confidence set holds "
            f"{stay} of {len(scores['models'])} models, the ensemble {place} them. Its 90 % interval held "
            f"{percent(intervals['coverage_90'])} of the outcomes, {inside} 88 to 92 %; in the worst year, "
            f"{worst['year']}, {percent(worst['coverage'])}.</p>"
        )
    parts.append(f"<p><strong>Return control.</strong> {_control_verdict(report)}</p>")
    parts.append(
        f'<p class="note">n ×: QLIKE as a multiple of the rival\'s, below 1 is better. “Significantly” means at '
        f"{percent(SIGNIFICANCE, 0)} in a one-sided Diebold-Mariano test of QLIKE; “better” takes Holm's "
        "adjustment for the ensemble being tested beside its members. Best HAR is chosen with hindsight.</p>"
    )
    return "".join(parts)


def _scores(report: dict[str, Any], horizon: str) -> str:
    scores = report["horizons"][horizon]
    exponent = math.floor(math.log10(min(row["mse"] for row in scores["models"])))
    rows = [
        [
            row["model"],
            f"{row['qlike']:.4f}",
            f"{row['mse'] / 10.0**exponent:.3f}",
            minus(f"{row['log_r2']:.3f}"),
            f"{_stays(row)}<br><small>p {p_text(row['confidence_set_p'])}</small>",
            *(_against(row["against"].get(rival)) for rival in _RIVALS),
        ]
        for row in scores["models"]
    ]
    head = ["model", "QLIKE", f"MSE ({power_of_ten(exponent)})", "log R²", "90 % MCS"]
    shown = table(
        f"Scores {_ahead(horizon).lower()}, best QLIKE first",
        [*head, *(f"÷ {name}" for name in _RIVALS.values())],
        rows,
        marked=ENSEMBLE,
    )
    nine = ", ".join(f"{name.removeprefix('har_')} {loss:.4f}" for name, loss in scores["plain_har"].items())
    notes = (
        "<p class=note>“÷ rival”: QLIKE as a multiple of the rival's, then the Diebold-Mariano t; below 1 and negative "
        "favour the model of the row. ** better at 1 %, * better at 5 %, † worse at 5 %, one-sided and unadjusted. "
        "“Holm”: p adjusted for the ensemble and its members being tested against the same rival. MCS: the model "
        "confidence set, models that the data cannot tell from the best.</p>"
        f"<p class=note>Best HAR {_winner(report, horizon)}. It was chosen with hindsight, as the lowest QLIKE at "
        "these very origins: a yardstick that nobody could have used. "
        f"QLIKE of the nine, refitted at every origin: {nine}.</p>"
    )
    return section(f"Scores, {_ahead(horizon).lower()}", shown + notes + _glossary(horizon))


def _stays(row: dict[str, Any]) -> str:
    return "stays" if row["in_confidence_set"] else "leaves"


def _winner(report: dict[str, Any], horizon: str) -> str:
    symbols = report["data"]["symbols"]
    if len(symbols) > 1:
        return "is one fit for each symbol, named in the table by symbol"
    kind, _, window = report["best_har_is"][f"{symbols[0]}_{horizon}"].partition("_")
    return f"is {_PLAIN_KINDS[kind]}, {'expanding' if window == 'expanding' else f'{int(window):,}-bar'} window"


def _glossary(horizon: str) -> str:
    if horizon != str(HORIZONS[0]):
        return ""
    terms = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in _MODELS.items())
    return f"<details><summary>What the models are</summary><dl>{terms}</dl></details>"


def _pictures(report: dict[str, Any], result: BacktestResult) -> str:
    both = range(len(HORIZONS))
    symbols = report["data"]["symbols"]
    whose = f"of {escape(symbols[int(result.rows.symbol.min())])} " if len(symbols) > 1 else ""
    mean = " (mean over the symbols)" if len(symbols) > 1 else ""
    return section(
        "Pictures",
        figure(
            (loss_difference(result, h) for h in both),
            f"Cumulative QLIKE of the ensemble minus each rival's{mean}: where a line falls the ensemble was better, "
            "where it rises worse, and a gain that is one cliff is one episode.",
        )
        + figure(
            (recent_forecasts(result, h) for h in both),
            f"The last {RECENT_ORIGINS} origins {whose}by date of the forecast: about nine in ten dots should lie in "
            "the pale band and half in the dark one (log scale; annualised with "
            f"{bars_per_year(result.rows.timestamps):,} bars a year, as counted in the data).",
        )
        + "<div class=pictures>"
        + figure(
            (yearly_coverage(report),),
            "A trustworthy interval stays near the line in every year; with 250 independent origins chance alone moves "
            "a year by about 4 points, and part-years and overlapping targets by more.",
        )
        + figure(
            (calibration(report),),
            "Points on the diagonal mean that the quantiles hold what they say; above it they are too high, below it "
            "too low.",
        )
        + figure(
            (ensemble_weights(result),),
            "Weights in force at each origin, fitted on the past alone: large jumps are a sign that the data hardly "
            "tells the members apart.",
        )
        + "</div>",
    )


def _intervals(report: dict[str, Any]) -> str:
    horizons = report["horizons"]
    levels = list(next(iter(horizons.values()))["intervals"]["pinball"])
    smallest = min(loss for scores in horizons.values() for loss in scores["intervals"]["pinball"].values())
    exponent = math.floor(math.log10(smallest))
    rows = []
    for horizon, scores in horizons.items():
        found, worst = scores["intervals"], scores["intervals"]["worst_year"]
        rows.append(
            [
                _ahead(horizon).lower(),
                percent(found["coverage_90"]),
                percent(found["coverage_50"]),
                f"{percent(worst['coverage'])} <small>{worst['year']}</small>",
                f"{found['winkler_90_log']:.3f}",
                *(f"{found['pinball'][level] / 10.0**exponent:.3f}" for level in levels),
            ]
        )
    pinball = [f"pinball {percent(float(level), 0)} ({power_of_ten(exponent)})" for level in levels]
    head = ["forecast", "90 % covers", "50 % covers", "worst year (90 %)", "Winkler 90 % (log)", *pinball]
    note = (
        "<p class=note>Intervals of the ensemble's variance. Pinball losses are in units of variance, Winkler's score "
        "in units of log-variance; lower is better in both.</p>"
    )
    return table("Intervals of the ensemble", head, rows) + note + _years(horizons)


def _years(horizons: dict[str, Any]) -> str:
    by_horizon = [{row["year"]: row for row in scores["intervals"]["by_year"]} for scores in horizons.values()]
    rows = [
        [str(year)]
        + [
            f"{percent(by_year[year]['coverage'])} <small>of {by_year[year]['n']:,}</small>" if year in by_year else "–"
            for by_year in by_horizon
        ]
        for year in sorted(set().union(*by_horizon))
    ]
    shown = table("90 % interval by year of the origin", ["year", *(_ahead(h).lower() for h in horizons)], rows)
    return f"<details><summary>Coverage by year in numbers</summary>{shown}</details>"


def _ablations(report: dict[str, Any]) -> str:
    tables = []
    for horizon, scores in report["horizons"].items():
        rows = []
        for row in scores["ablations"]:
            test = row["against_linear"] if "against_linear" in row else row["against_member"]
            rows.append(
                [
                    escape(row["ablation"]),
                    f"{row['qlike']:.4f}",
                    f"{test['ratio']:.3f}",
                    signed(test["t"]),
                    _WORTH.get(_judged(test), "unclear"),
                ]
            )
        head = [
            "what is removed",
            "QLIKE without",
            "÷ QLIKE with",
            "DM t",
            f"the part (at {percent(SIGNIFICANCE, 0)})",
        ]
        tables.append(table(f"Ablations {_ahead(horizon).lower()}", head, rows))
    quick = " The features were not ablated in this quick run." if report["settings"]["quick"] else ""
    note = (
        "<p class=note>Above 1 and t positive: the model is worse without the part, so the part helps. “unclear”: no "
        f"significant difference (one-sided, not adjusted for the number of tests).{quick}</p>"
    )
    return "".join(tables) + note


def _control(report: dict[str, Any]) -> str:
    rows = []
    for horizon, scores in report["horizons"].items():
        control = scores["control"]
        rows.append(
            [
                _ahead(horizon).lower(),
                minus(f"{100.0 * control['r2_against_constant']:+.2f} %"),
                f"{signed(control['t'])} <small>p {p_text(control['p_less'])}</small>",
                percent(control["directional_accuracy"]),
                percent(control["always_up"]),
                p_text(control["pesaran_timmermann_p"]),
            ]
        )
    head = ["forecast", "R² against a constant", "DM t", "signs right", "“always up” right", "PT p"]
    note = (
        "<p class=note>The features of the variance models, asked for the next log-return. Little or nothing should "
        "be found; a clear success would point to a leak. PT: Pesaran-Timmermann test of the signs.</p>"
    )
    return f"<p>{_control_verdict(report)}</p>" + table("Return control", head, rows) + note


def _control_verdict(report: dict[str, Any]) -> str:
    verdicts = _grouped((s["control"]["verdict"], _at(h)) for h, s in report["horizons"].items())
    told = "; ".join(f"{where} it {escape(verdict)}" for verdict, where in verdicts)
    return f"{told[0].upper()}{told[1:]}."


def _panel(report: dict[str, Any]) -> str:
    symbols = report["data"]["symbols"]
    tables = []
    for horizon, scores in report["horizons"].items():
        rows = []
        for row in scores["by_symbol"]:
            symbol = symbols[row["symbol"]]
            rows.append(
                [
                    escape(symbol),
                    *(f"{row[name]:.4f}" for name in (ENSEMBLE, LINEAR, "lhar", "best_har")),
                    report["best_har_is"][f"{symbol}_{horizon}"],
                    f"{row[ENSEMBLE] / row['lhar']:.3f}",
                    f"{row[ENSEMBLE] / row['best_har']:.3f}",
                ]
            )
        head = ["symbol", "ensemble", "linear", "LHAR", "best HAR", "which is", "÷ LHAR", "÷ best HAR"]
        if rows:
            tables.append(table(f"QLIKE by symbol, {_ahead(horizon).lower()}", head, rows))
    if not tables:
        return ""
    note = "<p class=note>One model for all symbols; no significance is claimed for a single one.</p>"
    return section("By symbol", "".join(tables) + note)


def _caveats(report: dict[str, Any]) -> str:
    caveats = [
        "The variance of a bar's range or return is a proxy; daily ranges exclude overnight variance.",
        "QLIKE levels are not comparable across proxies, nor across series: compare ratios.",
        "Best HAR is chosen after the fact from nine fits; no forecaster knew it beforehand.",
        "Statistical gains are not trading profits: no cost, position or price enters here.",
    ]
    if _is_demo(report["data"]["fingerprint"]):
        caveats.append("The demo's bars come with a software package; their provenance is unaudited.")
    return "<ul>" + "".join(f"<li>{caveat}</li>" for caveat in caveats) + "</ul>"


def _is_demo(fingerprint: str) -> bool:
    tables = [demo_bars(name) for name in DEMO_SYMBOLS]
    pooled = bar_table([series for table in tables for series in table.series], "")
    return fingerprint in {table.fingerprint for table in (*tables, pooled)}


def _ensemble(scores: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in scores["models"] if row["model"] == ENSEMBLE)
    return row


def _judged(test: dict[str, Any]) -> str:
    if test["p_less"] > 1.0 - SIGNIFICANCE:
        return "significantly worse than"
    if test["p_less"] >= SIGNIFICANCE:
        return "not significantly different from"
    if test.get("p_holm") is not None and test["p_holm"] >= SIGNIFICANCE:
        return "better, but not after Holm's adjustment, than"
    return "significantly better than"


def _grouped(said: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is said alike, said once: (statement, enumeration of what it holds for)."""
    groups: dict[str, list[str]] = {}
    for statement, subject in said:
        groups.setdefault(statement, []).append(subject)
    return [
        (statement, " and ".join(filter(None, (", ".join(subjects[:-1]), subjects[-1]))))
        for statement, subjects in groups.items()
    ]


def _against(test: dict[str, Any] | None) -> str:
    if test is None:
        return "–"
    p = test["p_less"]
    mark = "**" if p < 0.01 else "*" if p < SIGNIFICANCE else "†" if p > 1.0 - SIGNIFICANCE else ""
    kind = {"": "", "†": " class=worse"}.get(mark, " class=better")
    holm = f"<br>Holm {p_text(test['p_holm'])}" if test["p_holm"] is not None else ""
    return f"<span{kind}>{test['ratio']:.3f}{mark}</span><br><small>t {signed(test['t'])}{holm}</small>"


def _ahead(horizon: str) -> str:
    return f"{bars_text(horizon)} ahead"


def _at(horizon: str) -> str:
    return f"at {bars_text(horizon)}"


def _symbols(symbols: Sequence[str]) -> str:
    if len(symbols) == 1:
        return escape(symbols[0]) or "one series"
    more = f" and {len(symbols) - _SHOWN_SYMBOLS} more" if len(symbols) > _SHOWN_SYMBOLS else ""
    return f"{len(symbols)} symbols: {escape(', '.join(symbols[:_SHOWN_SYMBOLS]))}{more}"

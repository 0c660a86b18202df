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
        _section("Verdict", _verdict(report)),
        *(_scores(report, horizon) for horizon in report["horizons"]),
        _pictures(report, result),
        _section("Intervals", _intervals(report)),
        _section("Ablations: what each part is worth", _ablations(report)),
        _section("Control: can the same features forecast returns?", _control(report)),
        _panel(report),
        _section("What these numbers do not say", _caveats(report)),
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )
    return page.replace(" %", "\u00a0%")


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
            (_judged(test), f"{_RIVALS[rival]} ({test['ratio']:.3f}\u00a0×, DM\u00a0t\u00a0{_signed(test['t'])})")
            for rival, test in row["against"].items()
        )
        stay = sum(other["in_confidence_set"] for other in scores["models"])
        place = "among" if row["in_confidence_set"] else "not among"
        inside = "inside" if 0.88 <= intervals["coverage_90"] <= 0.92 else "outside"
        parts.append(
            f"<p><strong>{_ahead(horizon)}.</strong> By QLIKE the ensemble is "
            f"{'; '.join(f'{judged} {rivals}' for judged, rivals in against)}. The 90 % model confidence set holds "
            f"{stay} of {len(scores['models'])} models, the ensemble {place} them. Its 90 % interval held "
            f"{_percent(intervals['coverage_90'])} of the outcomes, {inside} 88 to 92 %; in the worst year, "
            f"{worst['year']}, {_percent(worst['coverage'])}.</p>"
        )
    parts.append(f"<p><strong>Return control.</strong> {_control_verdict(report)}</p>")
    parts.append(
        f'<p class="note">n ×: QLIKE as a multiple of the rival\'s, below 1 is better. “Significantly” means at '
        f"{_percent(SIGNIFICANCE, 0)} in a one-sided Diebold-Mariano test of QLIKE; “better” takes Holm's "
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
            _minus(f"{row['log_r2']:.3f}"),
            f"{'stays' if row['in_confidence_set'] else 'leaves'}<br><small>p {_p(row['confidence_set_p'])}</small>",
            *(_against(row["against"].get(rival)) for rival in _RIVALS),
        ]
        for row in scores["models"]
    ]
    head = ["model", "QLIKE", f"MSE ({_power(exponent)})", "log R²", "90 % MCS"]
    table = _table(
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
    return _section(f"Scores, {_ahead(horizon).lower()}", table + notes + _glossary(horizon))


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
    return _section(
        "Pictures",
        _figure(
            (loss_difference(result, h) for h in both),
            f"Cumulative QLIKE of the ensemble minus each rival's{mean}: where a line falls the ensemble was better, "
            "where it rises worse, and a gain that is one cliff is one episode.",
        )
        + _figure(
            (recent_forecasts(result, h) for h in both),
            f"The last {RECENT_ORIGINS} origins {whose}by date of the forecast: about nine in ten dots should lie in "
            "the pale band and half in the dark one (log scale; annualised with "
            f"{bars_per_year(result.rows.timestamps):,} bars a year, as counted in the data).",
        )
        + "<div class=pictures>"
        + _figure(
            (yearly_coverage(report),),
            "A trustworthy interval stays near the line in every year; with 250 independent origins chance alone moves "
            "a year by about 4 points, and part-years and overlapping targets by more.",
        )
        + _figure(
            (calibration(report),),
            "Points on the diagonal mean that the quantiles hold what they say; above it they are too high, below it "
            "too low.",
        )
        + _figure(
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
                _percent(found["coverage_90"]),
                _percent(found["coverage_50"]),
                f"{_percent(worst['coverage'])} <small>{worst['year']}</small>",
                f"{found['winkler_90_log']:.3f}",
                *(f"{found['pinball'][level] / 10.0**exponent:.3f}" for level in levels),
            ]
        )
    pinball = [f"pinball {_percent(float(level), 0)} ({_power(exponent)})" for level in levels]
    head = ["forecast", "90 % covers", "50 % covers", "worst year (90 %)", "Winkler 90 % (log)", *pinball]
    note = (
        "<p class=note>Intervals of the ensemble's variance. Pinball losses are in units of variance, Winkler's score "
        "in units of log-variance; lower is better in both.</p>"
    )
    return _table("Intervals of the ensemble", head, rows) + note + _years(horizons)


def _years(horizons: dict[str, Any]) -> str:
    by_horizon = [{row["year"]: row for row in scores["intervals"]["by_year"]} for scores in horizons.values()]
    rows = [
        [str(year)]
        + [
            f"{_percent(by_year[year]['coverage'])} <small>of {by_year[year]['n']:,}</small>"
            if year in by_year
            else "–"
            for by_year in by_horizon
        ]
        for year in sorted(set().union(*by_horizon))
    ]
    table = _table("90 % interval by year of the origin", ["year", *(_ahead(h).lower() for h in horizons)], rows)
    return f"<details><summary>Coverage by year in numbers</summary>{table}</details>"


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
                    _signed(test["t"]),
                    _WORTH.get(_judged(test), "unclear"),
                ]
            )
        head = [
            "what is removed",
            "QLIKE without",
            "÷ QLIKE with",
            "DM t",
            f"the part (at {_percent(SIGNIFICANCE, 0)})",
        ]
        tables.append(_table(f"Ablations {_ahead(horizon).lower()}", head, rows))
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
                _minus(f"{100.0 * control['r2_against_constant']:+.2f} %"),
                f"{_signed(control['t'])} <small>p {_p(control['p_less'])}</small>",
                _percent(control["directional_accuracy"]),
                _percent(control["always_up"]),
                _p(control["pesaran_timmermann_p"]),
            ]
        )
    head = ["forecast", "R² against a constant", "DM t", "signs right", "“always up” right", "PT p"]
    note = (
        "<p class=note>The features of the variance models, asked for the next log-return. Little or nothing should "
        "be found; a clear success would point to a leak. PT: Pesaran-Timmermann test of the signs.</p>"
    )
    return f"<p>{_control_verdict(report)}</p>" + _table("Return control", head, rows) + note


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
            tables.append(_table(f"QLIKE by symbol, {_ahead(horizon).lower()}", head, rows))
    if not tables:
        return ""
    note = "<p class=note>One model for all symbols; no significance is claimed for a single one.</p>"
    return _section("By symbol", "".join(tables) + note)


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
    holm = f"<br>Holm {_p(test['p_holm'])}" if test["p_holm"] is not None else ""
    return f"<span{kind}>{test['ratio']:.3f}{mark}</span><br><small>t {_signed(test['t'])}{holm}</small>"


def _signed(t: float | None) -> str:
    return "n/a" if t is None else _minus(f"{round(t, 1) + 0.0:+.1f}")


def _p(value: float | None) -> str:
    if value is None:
        return "n/a"
    return "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _power(exponent: int) -> str:
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _ahead(horizon: str) -> str:
    return f"{bars_text(horizon)} ahead"


def _at(horizon: str) -> str:
    return f"at {bars_text(horizon)}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100.0 * share:.{digits}f} %"


def _symbols(symbols: Sequence[str]) -> str:
    if len(symbols) == 1:
        return escape(symbols[0]) or "one series"
    more = f" and {len(symbols) - _SHOWN_SYMBOLS} more" if len(symbols) > _SHOWN_SYMBOLS else ""
    return f"{len(symbols)} symbols: {escape(', '.join(symbols[:_SHOWN_SYMBOLS]))}{more}"


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>"


def _figure(pictures: Iterable[str], caption: str) -> str:
    return f"<figure><div class=pictures>{''.join(pictures)}</div><figcaption>{caption}</figcaption></figure>"


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], marked: str | None = None) -> str:
    """A table of cells that are HTML already; the first of each row is its header."""
    lines = [f'<div class=scroll role=region tabindex=0 aria-label="{caption}"><table><caption>{caption}</caption>']
    lines.append("<thead><tr>" + "".join(f"<th scope=col>{cell}</th>" for cell in head) + "</tr></thead><tbody>")
    for first, *others in rows:
        lines.append(f"<tr{' class=marked' if first == marked else ''}><th scope=row>{first}</th>")
        lines.append("".join(f"<td>{cell}</td>" for cell in others) + "</tr>")
    return "\n".join(lines) + "</tbody></table></div>"


_CSS = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #ffffff; --soft: #5b6675; --line: #d9dee5; --mark: #eef4fb;
  --series-1: #0b62a8; --series-2: #c2500a; --series-3: #5a7d1c; --better: #0a6b3d; --worse: #a8231f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181e; --soft: #9aa6b5; --line: #343c47;
  --mark: #1d2938; --series-1: #5fb0f2; --series-2: #f59a55; --series-3: #a9cf5f; --better: #58cf95;
  --worse: #ff8a83; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--line); }
p, ul, dl { max-width: 48rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 0 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.lead { font-size: 1.15rem; font-weight: 600; }
.note, figcaption, small, caption { color: var(--soft); }
.note, figcaption { font-size: .875rem; }
.scroll { overflow-x: auto; margin: 0 0 .8rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .2rem 0; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap; }
thead th { vertical-align: bottom; white-space: normal; max-width: 6.5rem; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
.marked > * { background: var(--mark) !important; font-weight: 600; }
.better { color: var(--better); } .worse { color: var(--worse); }
figure { margin: 0 0 1.4rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
svg { width: 100%; max-width: 34rem; height: auto; stroke-linejoin: round; }
summary { cursor: pointer; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; }
  th:first-child { min-width: 6rem; max-width: 40vw; white-space: normal; overflow-wrap: break-word; } }
@media print { :root { --ink: #000000; --paper: #ffffff; --soft: #444444; --line: #cccccc; --mark: #f0f0f0;
  --series-1: #0b62a8; --series-2: #c2500a; --series-3: #5a7d1c; --better: #0a6b3d; --worse: #a8231f; }
  figure, tr, p, li { break-inside: avoid; } h2 { break-after: avoid; } table { font-size: 7.5pt; }
  th, td { padding: .15rem .3rem; }
  details::details-content { content-visibility: visible; } @page { margin: 14mm; } }
"""

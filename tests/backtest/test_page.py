"""The report's page: complete, safe to open, the same for the same backtest, and true to its numbers."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from functools import partial
from html import escape
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from optimization.backtest import engine
from optimization.backtest.engine import ABLATIONS, ENSEMBLE, LINEAR, BacktestResult
from optimization.backtest.page import render_page
from optimization.backtest.pictures import bars_per_year, loss_difference
from optimization.backtest.scores import score
from optimization.backtest.settings import BacktestSettings, make_plan
from optimization.backtest.tasks import LEVERAGE_GROUPS, WAVELET_GROUPS, baselines_task, control_task, member_task
from optimization.data import BarSeries, bar_table, demo_bars
from optimization.rows import make_rows
from optimization.train.members import LEARNERS
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

HOSTILE = '"><script>alert(1)</script>&$\\foo$'
VOID = {"meta"}

Backtest = tuple[dict[str, Any], BacktestResult]


def backtest(table: Any, settings: BacktestSettings) -> Backtest:
    """A real backtest in seconds: for members stand the backbone and two that know less."""
    spec = FeatureSpec(proxy=settings.proxy)
    timeline = np.unique(np.concatenate([series.timestamps for series in table.series]))
    plan = make_plan(settings, timeline)
    rows = make_rows(table, spec, series_features)
    walk = partial(member_task, rows, spec, None, plan.schedule, settings.seed, advance=lambda: None)
    baselines = partial(baselines_task, table, rows, settings.proxy, advance=lambda: None)
    forecasts = {without: walk(without) for without in ((), WAVELET_GROUPS, LEVERAGE_GROUPS)}
    results = dict(zip(LEARNERS, forecasts.values(), strict=True)) | {
        LINEAR: forecasts[()],
        **({} if settings.quick else {name: forecasts[groups] for name, groups in ABLATIONS.items()}),
        "har": baselines("har", plan.first_reported, settings.refit_every),
        "garch": baselines("garch", plan.first_reported, settings.refit_every),
        "control": control_task(table, rows, plan.schedule, advance=lambda: None),
    }
    result = engine._combine(rows, results, settings, plan, timeline)
    return score(result, table, settings), result


def last(name: str, count: int, symbol: str) -> BarSeries:
    series = demo_bars(name).series[0]
    return replace(series, symbol=symbol, timestamps=series.timestamps[-count:], bars=series.bars[-count:])


@pytest.fixture(scope="module")
def quick() -> Backtest:
    """One series without a symbol."""
    return backtest(bar_table([last("nasdaq", 1500, "")], "bars.csv"), BacktestSettings(quick=True))


@pytest.fixture(scope="module")
def panel() -> Backtest:
    """Two symbols, one of them and the file with a hostile name, refitted several times."""
    table = bar_table([last("nasdaq", 850, HOSTILE), last("sp500", 850, "sp500")], f"{HOSTILE}.csv")
    start = str(np.datetime64(int(table.series[0].timestamps[610]), "ns").astype("datetime64[D]"))
    return backtest(table, BacktestSettings(proxy="parkinson", start=start))


@pytest.fixture(scope="module")
def page(panel: Backtest) -> str:
    return render_page(*panel)


class Document(HTMLParser):
    """Checks nesting while reading; keeps attributes, and the text of cells and captions by tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID and tag != "br":
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.text[tag][-1] += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute)) is not None]


def test_every_section_and_table_is_there_in_order(page: str, quick: Backtest) -> None:
    document = Document(page)
    assert document.text["h2"] == [
        "Verdict",
        "Scores, 1 bar ahead",
        "Scores, 5 bars ahead",
        "Pictures",
        "Intervals",
        "Ablations: what each part is worth",
        "Control: can the same features forecast returns?",
        "By symbol",
        "What these numbers do not say",
    ]
    assert [caption.replace("\u00a0", " ") for caption in document.text["caption"]] == [
        "Scores 1 bar ahead, best QLIKE first",
        "Scores 5 bars ahead, best QLIKE first",
        "Intervals of the ensemble",
        "90 % interval by year of the origin",
        "Ablations 1 bar ahead",
        "Ablations 5 bars ahead",
        "Return control",
        "QLIKE by symbol, 1 bar ahead",
        "QLIKE by symbol, 5 bars ahead",
    ]
    assert "By symbol" not in Document(render_page(*quick)).text["h2"]


def test_score_tables_hold_every_model_of_the_report(panel: Backtest, page: str) -> None:
    report, _ = panel
    cells = Document(page).text
    for scores in report["horizons"].values():
        for row in scores["models"]:
            assert cells["th"].count(row["model"]) >= 2
            assert f"{row['qlike']:.4f}" in cells["td"]


def test_every_picture_says_what_it_shows(page: str) -> None:
    document = Document(page)
    pictures = [attrs for tag, attrs in document.tags if tag == "svg"]
    assert len(pictures) == 7
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)
    assert len(document.text["figcaption"]) == len(document.text["figure"]) == 5
    assert all(caption.endswith(".") for caption in document.text["figcaption"])


def test_table_headers_have_a_scope(page: str) -> None:
    assert {attrs.get("scope") for tag, attrs in Document(page).tags if tag == "th"} == {"col", "row"}


def test_names_from_outside_are_escaped(page: str) -> None:
    assert "<script" not in page
    assert f"<h1>Backtest of {escape(HOSTILE)}.csv</h1>" in page
    assert f"<th scope=row>{escape(HOSTILE)}</th>" in page


def test_page_refers_to_nothing_outside_itself(page: str) -> None:
    document = Document(page)
    ids = document.values("id")
    assert len(ids) == len(set(ids))
    references = document.values("href") + re.findall(r"url\(([^)]*)\)", page)
    assert references
    assert {reference.removeprefix("#") for reference in references} <= set(ids)
    assert not document.values("src")
    assert not re.search(r"https?:|@import|<link", page)


def test_equal_backtests_give_equal_pages(panel: Backtest, page: str) -> None:
    assert render_page(*panel) == page


def test_colours_follow_the_page(panel: Backtest) -> None:
    """Pictures draw with the page's variables only, so that they can be read on dark paper."""
    _, result = panel
    assert not re.search(r"#[0-9a-f]{6}", loss_difference(result, 0))


@pytest.mark.parametrize(
    ("p_less", "p_holm", "said"),
    [
        (0.01, 0.04, "significantly better than LHAR"),
        (0.04, 0.12, "better, but not after Holm's adjustment, than LHAR"),
        (0.4, 1.0, "not significantly different from LHAR"),
        (0.97, 1.0, "significantly worse than LHAR"),
    ],
)
def test_verdict_claims_what_the_test_carries(quick: Backtest, p_less: float, p_holm: float, said: str) -> None:
    report = copy.deepcopy(quick[0])
    for scores in report["horizons"].values():
        row = next(row for row in scores["models"] if row["model"] == ENSEMBLE)
        row["against"]["lhar"] |= {"p_less": p_less, "p_holm": p_holm}
    text = Document(render_page(report, quick[1])).text["p"]
    assert text[0] == f"The ensemble is {said} at 1 bar and at 5 bars."
    assert all(said in paragraph for paragraph in text[1:3])


def test_verdict_differs_between_horizons_where_they_differ(quick: Backtest) -> None:
    report = copy.deepcopy(quick[0])
    for p_less, scores in zip((0.001, 0.5), report["horizons"].values(), strict=True):
        row = next(row for row in scores["models"] if row["model"] == ENSEMBLE)
        row["against"]["lhar"] |= {"p_less": p_less, "p_holm": p_less}
    lead = Document(render_page(report, quick[1])).text["p"][0]
    assert lead == (
        "The ensemble is significantly better than LHAR at 1 bar; not significantly different from LHAR at 5 bars."
    )


def test_ablation_helps_when_the_model_is_significantly_worse_without(panel: Backtest) -> None:
    report = copy.deepcopy(panel[0])
    rows = report["horizons"]["1"]["ablations"]
    for row, p_less in zip(rows, (0.999, 0.001, 0.5, 0.5, 0.5), strict=True):
        row["against_linear" if "against_linear" in row else "against_member"]["p_less"] = p_less
    cells = Document(render_page(report, panel[1])).text["td"]
    assert [cell for cell in cells if cell in ("helps", "hurts", "unclear")][:5] == [
        "helps",
        "hurts",
        "unclear",
        "unclear",
        "unclear",
    ]


def test_quick_run_says_what_it_left_out(quick: Backtest, page: str) -> None:
    left_out = "The features were not ablated in this quick run."
    assert left_out in render_page(*quick)
    assert left_out not in page


@pytest.mark.parametrize("names", [("nasdaq",), ("sp500",), ("nasdaq", "sp500")])
def test_provenance_is_questioned_of_the_demo_only(quick: Backtest, names: tuple[str, ...]) -> None:
    report, result = quick
    demo = bar_table([series for name in names for series in demo_bars(name).series], "renamed.csv")
    warned = render_page({**report, "data": {**report["data"], "fingerprint": demo.fingerprint}}, result)
    assert "provenance is unaudited" in warned
    assert "provenance is unaudited" not in render_page(report, result)


def test_long_histories_stay_small(panel: Backtest) -> None:
    """Points that cannot be told apart are not drawn: 100,000 origins fit into a page of 1.5 MB."""
    _, result = panel
    times = 100_000 // len(result.rows)
    rows = result.rows.take(np.tile(np.arange(len(result.rows)), times))
    rows = replace(rows, timestamps=np.arange(len(rows)) * 3_600_000_000_000)
    long = replace(result, rows=rows, variance={k: np.tile(v, (times, 1)) for k, v in result.variance.items()})
    assert len(loss_difference(long, 0)) < 300_000


@pytest.mark.parametrize(("step_hours", "bars"), [(24, 365), (1, 8766)])
def test_bars_per_year_are_counted(step_hours: int, bars: int) -> None:
    stamps: NDArray[np.int64] = np.arange(20_000 // step_hours * 2) // 2 * step_hours * 3_600_000_000_000
    assert bars_per_year(stamps) == bars


def test_trading_days_are_about_252_a_year() -> None:
    assert bars_per_year(demo_bars("nasdaq").series[0].timestamps) == 252

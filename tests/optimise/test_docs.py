"""The documented figures are those of the committed run."""

from __future__ import annotations

import json
from pathlib import Path

from optimization.optimise.must_hold import must_hold
from optimization.optimise.page import render_page

DOCS = Path(__file__).parents[2] / "docs"


def test_docs_show_every_figure_of_the_committed_run_met_or_not() -> None:
    report = json.loads((DOCS / "optimisation" / "nasdaq.json").read_text())
    text = (DOCS / "optimisation.md").read_text()
    for one in must_hold(report):
        verdict = "met" if one.met else "**not met**"
        assert f"| {one.what} | {one.bound} | {one.figure} | {verdict} |" in text
    workers = json.loads((DOCS / "optimisation" / "workers.json").read_text())
    assert f"did {workers['ratio']:.2f} × the trials of one" in text
    assert report["published"] in render_page(report), "this version still reads it"

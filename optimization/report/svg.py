"""Pictures of the reports as inline SVG: text stays text, colours are the page's CSS variables."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that nobody would draw with; the page replaces them, so that it can be light or dark.
INK, FAINT, SERIES = "#010101", "#020202", ("#030303", "#040404", "#050505")
_VARIABLES = {INK: "--ink", FAINT: "--line", **{c: f"--series-{i}" for i, c in enumerate(SERIES, 1)}}
DASHES = ("-", "--", "-.")
_SIZE = (4.8, 3.1)  # inches; small, so that text stays legible on a phone
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wavecast",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.borderpad": 0.0,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.4,
    "date.converter": "concise",
    "timezone": "UTC",
}


def make_axes(title: str, label: str) -> tuple[Figure, Axes]:
    """A figure with one pair of axes under a title; ``label`` is that of the ordinate."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, pad=20.0, fontweight="bold")
    axes.set_ylabel(label)
    return figure, axes


def legend(axes: Axes) -> None:
    """The legend over the axes."""
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, columnspacing=1.0, handletextpad=0.5)


def to_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure without what would clash or weigh in a page: prologue, metadata, global style, shared ids."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = out.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="|href="#|url\(#', lambda found: f"{found[0]}{name}-", body).replace("xlink:href", "href")
    body = re.sub(r' d="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), body)
    body = re.sub(r"font-family: [^;]*; ", "", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    width, height = (72 * inches for inches in _SIZE)
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(alt)}">{body}'

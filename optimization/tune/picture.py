"""The frontier as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from optimization.tune.frontier import Point

_SIZE = (5.6, 3.6)  # inches
_MUTED, _LINE, _CHOSEN = "#8a8f98", "#1f6feb", "#d1242f"


def frontier_svg(points: Sequence[Point], chosen: Point) -> str:
    """SVG of loss against latency, both relative, artifact size as area; the same text for the same points."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "wavecast", "font.size": 9}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.add_subplot()
        front = sorted((p for p in points if p.efficient), key=lambda p: p.latency.ratio)
        largest = max(p.size_bytes for p in points)
        for label, those, colour in (
            ("dominated or too large", [p for p in points if not p.efficient], _MUTED),
            ("efficient", front, _LINE),
            ("chosen", [chosen], _CHOSEN),
        ):
            axes.scatter(
                [p.latency.ratio for p in those],
                [p.loss for p in those],
                s=[20.0 + 120.0 * p.size_bytes / largest for p in those],
                c=colour,
                label=label,
                alpha=0.85,
                linewidths=0,
            )
        axes.plot([p.latency.ratio for p in front], [p.loss for p in front], color=_LINE, linewidth=1.0)
        axes.set_xlabel("served latency, p50 at batch 1 / default's")
        axes.set_ylabel("loss / backbone's")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()

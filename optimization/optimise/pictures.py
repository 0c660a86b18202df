"""The report's pictures: what accuracy costs, and what mattered in each search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.ticker import FuncFormatter, MaxNLocator

from optimization.report.svg import FAINT, INK, SERIES, STYLE, legend, make_axes, to_svg

MOST_PARAMETERS = 8
_LARGEST_AREA = 140.0  # square points


@mpl.rc_context(STYLE)
def frontier(kind: str, study: Mapping[str, Any]) -> str:
    """Loss against latency of every candidate, both relative, with the artifact's bytes as area."""
    points, chosen = study["frontier"], study["chosen_trial"]
    largest = max(point["size_bytes"] for point in points)
    figure, axes = make_axes(f"{kind}: loss against latency", "QLIKE / backbone's")
    axes.axvline(1.0, color=FAINT, linewidth=0.8)
    groups = {
        "not eligible": ([p for p in points if not p["eligible"]], INK, 0.25),
        "dominated": ([p for p in points if p["eligible"] and not p["efficient"]], SERIES[2], 0.6),
        "efficient": ([p for p in points if p["efficient"] and p["trial"] != chosen], SERIES[0], 0.9),
        "chosen": ([p for p in points if p["trial"] == chosen], SERIES[1], 0.95),
    }
    for label, (those, colour, alpha) in groups.items():
        axes.scatter(
            [p["latency"]["ratio"] for p in those],
            [p["loss"] for p in those],
            s=[12.0 + _LARGEST_AREA * p["size_bytes"] / largest for p in those],
            c=colour,
            alpha=alpha,
            linewidths=0,
        )
        axes.scatter([], [], s=24.0, c=colour, alpha=alpha, label=label, linewidths=0)
    front = sorted((p["latency"]["ratio"], p["loss"]) for p in points if p["efficient"])
    axes.plot([x for x, _ in front], [y for _, y in front], color=SERIES[0], linewidth=1.0)
    axes.set_xlabel("p50 at batch 1 / default's")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4f}"))
    legend(axes)
    alt = f"Loss against latency of {len(points)} candidates of {kind}; table below"
    return to_svg(figure, f"frontier-{kind}", alt)


@mpl.rc_context(STYLE)
def importances(kind: str, study: Mapping[str, Any]) -> str:
    """Share of each parameter in what separates the good trials of a search."""
    ranked = sorted(study["importances"].items(), key=lambda item: -item[1])[:MOST_PARAMETERS]
    figure, axes = make_axes(f"{kind}: what mattered", "")
    names, shares = [name for name, _ in ranked][::-1], [share for _, share in ranked][::-1]
    axes.barh(names, shares, color=SERIES[0], height=0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("importance (PED-ANOVA)")
    alt = f"Importance of the parameters of the {kind} search: " + ", ".join(f"{n} {s:.2f}" for n, s in ranked)
    return to_svg(figure, f"importance-{kind}", alt)

"""Median latency of every endpoint as bars, on a logarithmic axis, readable on light and dark pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib import pyplot as plt

from bench.comparison import GRAPH, SINGLE, series

_INK = "#808890"  # contrast above 3 : 1 on white and on near-black
_OURS, _OTHERS = "#2f8f6b", "#b0803a"
_TICKS_MS = (0.25, 0.5, 1, 2, 4, 8, 16, 32)


def draw(results: dict[str, Any], file: Path) -> None:
    """Write the picture; the whiskers are the range over the rounds."""
    rows = results["rounds"]
    names = [f"{server}/{transport}" for group in (GRAPH, SINGLE) for server in group for transport in group[server]]
    heights = [sum(map(len, group.values())) for group in (GRAPH, SINGLE)]
    mpl.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "wavecast", "font.family": "sans-serif", "font.size": 9}
    )
    figure, axes = plt.subplots(2, 1, sharex=True, figsize=(8, 0.28 * len(names) + 1.4), height_ratios=heights)
    for axis, group, title in zip(axes, (GRAPH, SINGLE), ("whole graph", f"member {results['member']}"), strict=True):
        found = {
            f"{server} · {t}": series(rows, f"{server}/{t}", 1, "p50_ms") for server in group for t in group[server]
        }
        values = sorted(found.items(), key=lambda item: -float(np.median(item[1])))
        medians = np.array([np.median(p50) for _, p50 in values])
        reach = np.array([[m - min(p), max(p) - m] for m, (_, p) in zip(medians, values, strict=True)]).T
        colours = [_OURS if label.startswith("wavecast") else _OTHERS for label, _ in values]
        axis.barh([label for label, _ in values], medians, xerr=reach, color=colours, ecolor=_INK, height=0.7)
        for position, (_, p50) in enumerate(values):
            axis.text(max(p50) * 1.06, position, f"{np.median(p50):.2f}", va="center", color=_INK)
        axis.set_xscale("log")
        axis.set_title(title, loc="left", color=_INK)
        axis.set_xticks(_TICKS_MS, [f"{tick:g}" for tick in _TICKS_MS])
        axis.minorticks_off()
        axis.tick_params(colors=_INK)
        axis.grid(axis="x", color=_INK, alpha=0.25)
        axis.set_axisbelow(True)
        for spine in axis.spines.values():
            spine.set_visible(False)
    axes[-1].set_xlabel("p50 of one window on one connection, ms", color=_INK)
    figure.tight_layout()
    figure.savefig(file, transparent=True, metadata={"Date": None})
    plt.close(figure)

"""A load test as one SVG: latency by percentile, and latency and rate over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import product

from predictors.loadtest.report import Report

_WIDTH, _HEIGHT, _LEFT, _RIGHT = 860, 190, 70, 20
_BLUE, _RED, _GREEN = "#1f5fa8", "#c2452d", "#2d8a4e"
_Points = Sequence[tuple[float, float]]


def draw(report: Report) -> str:
    """The picture as text."""
    plan = report.plan
    loop = f"{plan.connections} connections" if plan.rate_per_s is None else f"{plan.rate_per_s:g} requests/s"
    title = f"{plan.protocol}, batch {plan.batch}, {loop}: {report.answered} answers, {report.error_share:.2%} errors"
    nines = [(-math.log10(1.0 - min(p, 99.9999) / 100.0), ms) for p, ms in report.curve]
    labels = [(float(n), f"{100.0 * (1.0 - 10.0**-n):.6g} %") for n in range(7)]
    over_time = [
        (_BLUE, "p50", [(s.at_s, s.p50_ms) for s in report.seconds]),
        (_RED, "p99", [(s.at_s, s.p99_ms) for s in report.seconds]),
    ]
    rates = [(s.at_s, s.answered_per_s) for s in report.seconds]
    end = max([s.at_s for s in report.seconds], default=1.0)
    step = max(1, round(end / 10))
    times = [(float(t), f"{t} s") for t in range(0, math.ceil(end) + 1, step)]
    panels = [
        _panel(0, "latency by percentile, ms", [(_BLUE, "", nines)], labels, logarithmic=True),
        _panel(1, "latency over time, ms", over_time, times, logarithmic=True),
        _panel(2, "right answers a second", [(_GREEN, "", rates)], times, logarithmic=False),
    ]
    height = 40 + 3 * (_HEIGHT + 60)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12" fill="#222">\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>\n' + "".join(panels) + "</svg>\n"
    )


def _panel(
    row: int,
    title: str,
    lines: Sequence[tuple[str, str, _Points]],
    labels: Sequence[tuple[float, str]],
    logarithmic: bool,
) -> str:
    top = 66 + row * (_HEIGHT + 60)
    points = [point for _, _, line in lines for point in line if math.isfinite(point[1])]
    parts = [f'<text x="{_LEFT}" y="{top - 10}" font-weight="bold">{escape(title)}</text>\n']
    if not points:
        return parts[0] + f'<text x="{_LEFT}" y="{top + 30}">nothing was measured</text>\n'
    widest = max(x for x, _ in points) or 1.0
    ticks = _log_ticks(points) if logarithmic else _linear_ticks(points)
    bottom, ceiling = ticks[0], ticks[-1]

    def x_of(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * value / widest

    def y_of(value: float) -> float:
        if logarithmic:
            share = math.log(value / bottom) / math.log(ceiling / bottom)
        else:
            share = (value - bottom) / (ceiling - bottom)
        return top + _HEIGHT * (1.0 - share)

    for tick in ticks:
        y = y_of(tick)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>\n')
    for value, label in labels:
        if value <= widest * 1.001:
            parts.append(f'<path d="M{x_of(value):.1f} {top}v{_HEIGHT}" stroke="#eee"/>')
            parts.append(f'<text x="{x_of(value):.1f}" y="{top + _HEIGHT + 18}" text-anchor="middle">{label}</text>\n')
    for number, (colour, name, line) in enumerate(lines):
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line if math.isfinite(y))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        x = _WIDTH - _RIGHT - 40 * (len(lines) - number)
        parts.append(f'<text x="{x}" y="{top - 10}" fill="{colour}">{name}</text>\n')
    return "".join(parts)


def _log_ticks(points: _Points) -> list[float]:
    """1, 2 and 5 times powers of ten around all values."""
    low, high = min(y for _, y in points), max(y for _, y in points)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [digit * 10.0**decade for decade, digit in product(decades, (1, 2, 5))]
    first = max(tick for tick in every if tick <= low)
    last = min(tick for tick in every if tick > high)
    return [tick for tick in every if first <= tick <= last]


def _linear_ticks(points: _Points) -> list[float]:
    """Zero to above the largest value in round steps."""
    high = max(max(y for _, y in points), 1.0)
    unit = 10.0 ** math.floor(math.log10(high))
    step = next(unit * factor for factor in (0.25, 0.5, 1.0, 2.0, 5.0) if high / (unit * factor) <= 5)
    return [step * n for n in range(math.ceil(high / step) + 1)]

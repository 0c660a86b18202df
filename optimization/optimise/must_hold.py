"""The figures that an optimisation is to reach, each with its bound and whether it was met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optimization.compress.gates import GateSettings
from optimization.rows import HORIZONS

SMALLER_NETWORK, FASTER_LSTM, SMALLER_TREES, LOSS = 0.4, 0.8, 0.2, 1.01
FASTER_TREES = 0.85
OVERRUN = 1.25
SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True)
class MustHold:
    """One figure.

    Attributes
    ----------
    what
        Subject and what it is compared with.
    figure, bound
        For people.
    met
        Whether the bound holds.
    note
        What else is to be known.
    """

    what: str
    figure: str
    bound: str
    met: bool
    note: str = ""


def must_hold(report: Mapping[str, Any]) -> list[MustHold]:
    """All figures of a report, whether they were reached or not."""
    members = report["compressed"]["members"]
    return [
        *(one for kind in ("lstm", "transformer") for one in _network(kind, members[kind])),
        *_trees(members["xgboost"]),
        _tuned_trees(report["studies"]["xgboost"]),
        _weights(report["compressed"]["ensemble"], report["compressed"]["gates"]),
        _time(report["budget"]),
    ]


def _network(kind: str, member: Mapping[str, Any]) -> Iterator[MustHold]:
    last, reference = member["steps"][-1], member["reference"]
    size = last["size_bytes"] / reference["size_bytes"]
    yield MustHold(
        f"{kind}: bytes beside the reference architecture",
        f"{_less(size)} smaller ({last['size_bytes']:,} against {reference['size_bytes']:,})",
        "at least 60 % smaller",
        size <= SMALLER_NETWORK,
        "the stretch of 80 % is reached too" if size <= 0.2 else "the stretch of 80 % is not reached",
    )
    if kind == "lstm":
        latency = last["latency_vs_reference"]
        yield MustHold(
            f"{kind}: p50 at batch 1 beside the reference architecture",
            f"{_less(latency)} faster ({last['latency_us']['1'][0]:.0f} against "
            f"{reference['latency_us']['1'][0]:.0f} µs)",
            "at least 20 % faster",
            latency <= FASTER_LSTM,
        )
    yield _loss(f"{kind}: QLIKE beside the trained reference", reference["member_qlike"], reference["qlike"])
    yield _loss(f"{kind}: QLIKE beside its uncompressed parent", last["qlike"], member["steps"][0]["qlike"])


def _trees(member: Mapping[str, Any]) -> Iterator[MustHold]:
    last, reference = member["steps"][-1], member["reference"]
    size = last["size_bytes"] / reference["size_bytes"]
    yield MustHold(
        "xgboost: bytes beside its best-iteration JSON",
        f"{_less(size)} smaller ({last['size_bytes']:,} against {reference['size_bytes']:,})",
        "at least 80 % smaller",
        size <= SMALLER_TREES,
    )
    yield _loss("xgboost: QLIKE beside its uncompressed parent", last["qlike"], member["steps"][0]["qlike"])


def _loss(what: str, own: list[float], other: list[float]) -> MustHold:
    ratios = [a / b for a, b in zip(own, other, strict=True)]
    return MustHold(
        what,
        " and ".join(f"{ratio:.4f} ×" for ratio in ratios),
        f"at most {LOSS:g} × at 1 and 5 bars",
        max(ratios) <= LOSS,
    )


def _tuned_trees(study: Mapping[str, Any]) -> MustHold:
    latency = _chosen(study)["latency"]["ratio"]
    ratios = [one["tuned"] / one["default"] for one in study["outer"]]
    significant = [one["horizon"] for one in study["outer"] if one["p_less"] < SIGNIFICANCE]
    faster = latency <= FASTER_TREES and sum(ratios) / len(ratios) <= 1.0
    better = bool(significant) and max(ratios) <= 1.0 and latency <= 1.0
    return MustHold(
        "xgboost: tuned beside its default settings, outer folds",
        f"p50 {latency:.2f} ×; QLIKE {' and '.join(f'{ratio:.4f} ×' for ratio in ratios)}, mean "
        f"{sum(ratios) / len(ratios):.4f} ×",
        "p50 at least 15 % lower and QLIKE no higher in the mean of 1 and 5 bars; or QLIKE significantly lower and "
        "p50 no higher",
        faster or better,
        f"DM t {', '.join(_signed(one['t']) for one in study['outer'])}",
    )


def _weights(ensemble: Mapping[str, Any], gates: Mapping[str, Any]) -> MustHold:
    limit = GateSettings(**gates).significance
    worse = [v["value"] for v in ensemble["verdicts"]["equal weights"] if v["gate"].startswith("dm_p")]
    ratios = [a / b for a, b in zip(ensemble["qlike"]["ensemble"], ensemble["qlike"]["equal weights"], strict=True)]
    found = [
        f"at {horizon} bar{'s' if horizon > 1 else ''} {ratio:.4f} × and {_difference(p, limit)} (p of 'worse' {p:.2f})"
        for horizon, ratio, p in zip(HORIZONS, ratios, worse, strict=True)
    ]
    return MustHold(
        "ensemble: optimised weights beside equal weights",
        f"QLIKE {'; '.join(found)}",
        "not significantly worse",
        min(worse) >= limit,
        "each refit's weights from what had matured; Diebold-Mariano, one-sided",
    )


def _difference(p_worse: float, level: float) -> str:
    if p_worse < level:
        return "significantly worse"
    return "significantly better" if p_worse > 1.0 - level else "not significantly different"


def _time(budget: Mapping[str, Any]) -> MustHold:
    return MustHold(
        "time: all stages",
        time_text(budget["spent_s"]),
        f"at most {time_text(OVERRUN * budget['budget_s'])} for a budget of {time_text(budget['budget_s'])}",
        budget["spent_s"] <= OVERRUN * budget["budget_s"],
    )


def time_text(seconds: float) -> str:
    """``45 s`` or ``12.5 min``."""
    return f"{seconds:.0f} s" if seconds < 100.0 else f"{seconds / 60.0:.1f} min"


def _chosen(study: Mapping[str, Any]) -> dict[str, Any]:
    return next(point for point in study["frontier"] if point["trial"] == study["chosen_trial"])


def _less(ratio: float) -> str:
    return f"{100.0 * (1.0 - ratio):.0f} %"


def _signed(t: float) -> str:
    return f"{t:+.2f}"

"""The page and the picture, from the raw results alone: ``python -m bench.report RESULTS DOCS`` writes them again."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench.comparison import GRAPH, LARGE_REPEATS, PACED_RPS, PACED_S, SINGLE, TARGETS, paired_ratios, series
from bench.picture import draw
from predictors.serving.metrics import STAGES

_TRANSPORTS = {"json": "REST JSON", "binary": "REST binary", "grpc": "gRPC"}
_PACED_LIMITS_MS = {1: 10.0, 10: 20.0}
_LARGE_LIMIT_S = 1.5

_WHO = """\
| Server | What it is |
|---|---|
| wavecast embedded | `wavecast serve`: everything in one process |
| wavecast processes | `wavecast serve --layout processes`: wavelet, router and three members, five processes |
| wavecast member | one member's own server (`python -m predictors.members.{member}`) |
| FastAPI | the whole graph in one FastAPI process with orjson, uvloop and ONNX Runtime, no KServe, no log |
| KServe REST graph | stock KServe SDK: transformer, fan-out, three predictors; JSON between them, default logging |
| KServe gRPC graph | the same with gRPC between them; the fan-out is a KServe predictor with the SDK's gRPC client |
| KServe member | one stock KServe predictor, default logging |
| MLServer member | a custom MLServer runtime, in-process, default logging |
"""


def write(raw: Path, docs: Path) -> None:
    """Write ``performance.md`` and its picture into ``docs``."""
    results = orjson.loads(raw.read_bytes())
    draw(results, docs / "performance" / "latency.svg")
    (docs / "performance.md").write_text(_page(results))


def _page(results: dict[str, Any]) -> str:
    machine, rows = results["machine"], results["rounds"]
    rounds = max(row["round"] for row in rows)
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    parts = [
        "# Performance",
        "Written by `make bench` from [its raw figures](performance/results.json); do not edit.",
        f"{machine['cores']} cores of {machine['processor']} ({', '.join(machine['vector_flags'])}), "
        f"{machine['system']}, Python {machine['python']}; {libraries}. The servers and the load generator share "
        f"these cores. Load average before the run: {machine['load_average_before']}. "
        f"The run took {results['minutes']} minutes.",
        "![Median latency of one window on one connection](performance/latency.svg)",
        "## What must hold",
        f"Ratios within one round; median of {rounds} rounds, and the range over them. "
        "p50 is that of one connection, throughput that of eight.",
        _table(("Ours", "Against", "Figure", "Ratio", "Range", "Bound", "Holds"), _target_lines(rows)),
        f"At {PACED_RPS} requests per second for {PACED_S} s (REST JSON), and large batches "
        f"(median of {LARGE_REPEATS}):",
        _table(("Server", "Request", "Figure", "Value", "Bound", "Holds"), _promise_lines(results)),
        "## One window (128 bars), the whole graph",
        "Medians over the rounds, with the range of the p50. Latencies are those of one connection; CPU is what all "
        "processes of the server spend on one request, and hardly depends on what else the machine does.",
        _table(_HEADINGS, _lines(rows, GRAPH)),
        f"## One member ({results['member']}: it reads both feature blocks)",
        _table(_HEADINGS, _lines(rows, SINGLE)),
        "## Where the time of one window goes",
        "By the server's own metrics (`wavecast_stage_seconds`), mean ms on one connection with REST JSON. For the "
        "processes it is the account of the first, the wavelet's: its members' stage is the router and the three "
        "members, with two hops there and two back. Outside is HTTP, the kernel, the wait for a processor and the "
        "load generator. Features, members and combining are the same code in every server here, FastAPI's too.",
        _table(("Server", *STAGES, "outside", "in all"), _stage_lines(results["stages"])),
        "## How it was measured",
        _WHO.format(member=results["member"]),
        "All servers run at once, each in processes of its own on loopback, with the same ONNX models, one ONNX "
        "Runtime thread per session and the same request, a real window. The processes of a graph are joined by the "
        "same number of hops: features, fan-out, member. Each answer is compared with the offline answer before "
        "anything is timed, and one failed request ends the run. `wrk` loads HTTP and `h2load` loads gRPC, so the two "
        "transports are not to be compared with each other to the last per cent. In each round every server has its "
        "turn, in another order; the first round is dropped. KServe's InferenceGraph router is a Go program that "
        "joins JSON; a lean one stands in for it in the REST graph, without the SDK's cost.",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


_HEADINGS = ("Server", "Transport", "p50 ms", "range", "p95 ms", "p99 ms", "CPU ms", "requests/s, 8 connections")


def _lines(rows: Sequence[dict[str, Any]], group: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    for server, transports in group.items():
        for transport in transports:
            name = f"{server}/{transport}"
            p50 = series(rows, name, 1, "p50_ms")
            middle = (f"{np.median(series(rows, name, 1, metric)):.2f}" for metric in ("p95_ms", "p99_ms", "cpu_ms"))
            rps = f"{np.median(series(rows, name, 8, 'rps')):.0f}"
            spread = f"{min(p50):.2f} to {max(p50):.2f}"
            yield server, _TRANSPORTS[transport], f"**{np.median(p50):.2f}**", spread, *middle, rps


def _target_lines(rows: Sequence[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    for target in TARGETS:
        ratios = paired_ratios(rows, target)
        ratio = float(np.median(ratios))
        figure, sign = ("p50", "≤") if target.metric == "p50_ms" else ("throughput", "≥")
        spread = f"{min(ratios):.3g} to {max(ratios):.3g}"
        holds = _holds(target.met(ratio))
        yield (
            _named(target.ours),
            _named(target.other),
            figure,
            f"{ratio:.3g}",
            spread,
            f"{sign} {target.bound:.3g}",
            holds,
        )


def _promise_lines(results: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    for row in results["paced"]:
        limit = _PACED_LIMITS_MS[row["windows"]]
        request = "one window" if row["windows"] == 1 else f"a batch of {row['windows']}"
        value, bound = f"{row['p95_ms']:.2f} ms", f"< {limit:g} ms"
        yield row["server"], request, "p95", value, bound, _holds(row["p95_ms"] < limit)
    for row in results["large"]:
        value, bound = f"{row['median_s']:.2f} s", f"< {_LARGE_LIMIT_S:g} s"
        yield (
            _named(row["endpoint"]),
            "a batch of 1,000",
            "time",
            value,
            bound,
            _holds(row["median_s"] < _LARGE_LIMIT_S),
        )


def _stage_lines(rows: Sequence[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    for row in rows:
        known = [row["stages_ms"].get(stage, 0.0) for stage in STAGES]
        yield row["server"], *(f"{ms:.3f}" for ms in (*known, row["mean_ms"] - sum(known), row["mean_ms"]))


def _named(endpoint: str) -> str:
    server, transport = endpoint.split("/")
    return f"{server}, {_TRANSPORTS[transport]}"


def _holds(yes: bool) -> str:
    return "met" if yes else "**not met**"


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * len(headings)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, rule, *lines))


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:]))

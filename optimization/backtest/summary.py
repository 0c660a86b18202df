"""The backtest's result on a terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from optimization.backtest.engine import ENSEMBLE


def print_summary(report: dict[str, Any]) -> None:
    """Print one score table a horizon, then the intervals and the control."""
    console = Console()
    data = report["data"]
    console.print(
        f"{data['source']}: {data['origins']} origins from {data['first_origin']} to {data['last_origin']}, "
        f"proxy {report['settings']['proxy']}"
    )
    for horizon, scores in report["horizons"].items():
        console.print(f"\n[bold]{horizon} bar{'s' if horizon != '1' else ''} ahead[/bold]: QLIKE, its ratio to LHAR,")
        console.print("and Diebold-Mariano t against five rivals (negative = better than the rival)")
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("model", no_wrap=True)
        for column in ("QLIKE", "/LHAR", "LHAR", "best HAR", "GJR", "EWMA", "linear", "MCS"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in scores["models"]:
            against = row["against"]
            table.add_row(
                row["model"],
                f"{row['qlike']:.4f}",
                f"{against['lhar']['ratio']:.3f}" if "lhar" in against else "",
                *(_t(against, rival) for rival in ("lhar", "best_har", "gjr", "ewma", "linear")),
                "in" if row["in_confidence_set"] else "",
                style="bold" if row["model"] == ENSEMBLE else None,
            )
        console.print(table)
        intervals, control = scores["intervals"], scores["control"]
        worst = intervals["worst_year"]
        console.print(
            f"90 % interval covers {intervals['coverage_90']:.1%}, worst year {worst['year']} {worst['coverage']:.1%}"
        )
        console.print(f"return control: R² {control['r2_against_constant']:+.2%}, it {control['verdict']}")


def _t(against: dict[str, Any], rival: str) -> str:
    if rival not in against or against[rival]["t"] is None:
        return ""
    return f"{against[rival]['t']:+.1f}"

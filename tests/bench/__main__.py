"""Run everything, keep the raw figures, write the page from them: ``python -m bench STORE MLSERVER_VENV DOCS``."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import orjson

from bench import comparison, report
from bench.generators import Generators
from bench.questions import forecast_question, member_question
from bench.servers import MEMBER, Servers
from predictors.store import Store, read_release

LIBRARIES = ("kserve", "fastapi", "uvicorn", "uvloop", "orjson", "grpcio", "onnxruntime", "numpy", "aiohttp")


def main(store: Path, mlserver: Path, docs: Path) -> None:
    """The whole benchmark."""
    missing = [program for program in ("wrk", "h2load") if shutil.which(program) is None]
    if missing:
        sys.exit(f"error: {' and '.join(missing)} not found; install them: apt-get install wrk nghttp2-client")
    release = read_release(Store(str(store)), None)
    forecast, member = forecast_question(release, 1), member_question(release, MEMBER)
    with tempfile.TemporaryDirectory(prefix="wavecast-bench-") as name:
        folder = Path(name)
        started = time.monotonic()
        print("starting the servers", flush=True)
        with Servers(store, release.manifest, mlserver, folder) as servers:
            at = servers.start()
            generators = Generators(folder)
            compared = comparison.endpoints(at, forecast, member)
            for endpoint in compared:
                generators.check(endpoint)
            print(f"{len(compared)} endpoints answer as the offline path does", flush=True)
            results: dict[str, object] = {
                "machine": _machine(mlserver),
                "member": MEMBER,
                "rounds": comparison.measure_rounds(compared, generators, servers.cpu_s),
                "paced": comparison.measure_paced(at, {1: forecast, 10: forecast_question(release, 10)}, generators),
                "stages": comparison.measure_stages(at, forecast, generators),
                "large": comparison.measure_large(at, forecast_question(release, 1000)),
            }
        results["minutes"] = round((time.monotonic() - started) / 60, 1)
    (docs / "performance").mkdir(parents=True, exist_ok=True)
    raw = docs / "performance" / "results.json"
    raw.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))
    report.write(raw, docs)
    print(f"{docs / 'performance.md'} written", flush=True)


def _machine(mlserver: Path) -> dict[str, object]:
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.replace("\t", "").split(":", 1) for line in facts if ":" in line)
    flags = set(fields.get("flags", "").split())
    python = mlserver / "bin" / "python"
    program = "from importlib.metadata import version; print(version('mlserver'))"
    found = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "processor": fields.get("model name", platform.processor()).strip(),
        "cores": os.cpu_count(),
        "vector_flags": sorted(flags & {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "fma"}),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "libraries": {**{name: version(name) for name in LIBRARIES}, "mlserver": found},
    }


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

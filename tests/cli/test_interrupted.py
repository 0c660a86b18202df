"""Broken off anywhere, a command leaves nothing half-written and no process; a backtest goes on where it stopped."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from command_line import GIVE_UP_S, alive, begin, tree, wait_until, wavecast

from optimization.data import read_bars
from optimization.data.bars import time_text
from optimization.rows import series_proxy

pytestmark = pytest.mark.xdist_group("interrupted")

FIRST_BAR = 780
INTERRUPTED = "error: interrupted; nothing half-done was kept, run the same command again"
FILES = ["forecasts.csv", "report.html", "report.json"]
QUANTILES = ["q0.05", "q0.25", "q0.5", "q0.75", "q0.95"]


@pytest.fixture(scope="module")
def backtest(bars: Path) -> list[str]:
    """The command, but for its folder."""
    start = time_text(read_bars(bars).series[0].timestamps[FIRST_BAR])
    return ["backtest", "--data", str(bars), "--start", start, "--json", "--out"]


@pytest.fixture(scope="module")
def undisturbed(backtest: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = wavecast(*backtest, "out", cwd=folder)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out) == json.loads((folder / "out" / "report.json").read_bytes())
    return folder / "out"


def a_worker_starts(session: int) -> bool:
    """A worker is loading its libraries, when an interrupt would be told by a traceback of its own."""
    for process in set(alive(session)) - {session}:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if "numpy" in (Path("/proc") / str(process) / "maps").read_text():
                return True
    return False


def parts(out: Path) -> dict[str, int]:
    """Finished parts of a backtest, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob(".unfinished/*/*.npz")}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_training_that_is_broken_off_leaves_no_run_and_no_process(
    bars: Path, tmp_path: Path, how: signal.Signals
) -> None:
    with begin("train", "--data", bars, "--run", "run", cwd=tmp_path) as training:
        wait_until(lambda: a_worker_starts(training.pid), "a worker starts")
        if how == signal.SIGINT:
            os.killpg(training.pid, how)  # as a terminal does it: to the workers too
        else:
            training.send_signal(how)
        out, err = training.communicate(timeout=GIVE_UP_S)
    assert out == b""
    assert not (tmp_path / "run").exists()
    wait_until(lambda: not alive(training.pid), "no process of the training is left")
    if how == signal.SIGINT:
        assert training.returncode == 130
        assert err.decode().strip() == INTERRUPTED
        assert tree(tmp_path) == {}
    else:
        assert training.returncode == -how


def test_a_backtest_goes_on_where_it_was_broken_off_and_writes_the_same_bytes(
    backtest: list[str], undisturbed: Path, tmp_path: Path
) -> None:
    """... into a folder with the files of another one, which stay until they are replaced."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("of another backtest")
    with begin(*backtest, "out", cwd=tmp_path) as killed:
        wait_until(lambda: len(parts(out)) >= 1, "a part is finished")
        killed.kill()
    wait_until(lambda: not alive(killed.pid), "no process of the backtest is left")
    kept = parts(out)
    assert sorted(path.name for path in out.iterdir()) == [".unfinished", "report.json"]

    with begin(*backtest, "out", cwd=tmp_path) as stopped:
        wait_until(lambda: len(parts(out)) > len(kept), "another part is finished")
        stopped.send_signal(signal.SIGINT)
        _, err = stopped.communicate(timeout=GIVE_UP_S)
    assert stopped.returncode == 130
    assert err.decode().strip() == INTERRUPTED
    wait_until(lambda: not alive(stopped.pid), "no process of the backtest is left")
    assert sorted(path.name for path in out.iterdir()) == [".unfinished", "report.json"]
    assert (out / "report.json").read_text() == "of another backtest"
    more = parts(out)
    assert {name: more[name] for name in kept} == kept  # what was finished was not computed again

    # A part that the disk lost half of is computed again.
    damaged = next(path for path in out.glob(".unfinished/*/*.npz") if path.name in kept)
    damaged.write_bytes(damaged.read_bytes()[:100])
    resumed = wavecast(*backtest, "out", cwd=tmp_path)
    assert (resumed.code, resumed.err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == FILES
    for name in FILES:
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()


def test_forecasts_csv_keeps_its_contract(bars: Path, undisturbed: Path) -> None:
    content = (undisturbed / "forecasts.csv").read_bytes()
    assert b"\r" not in content
    lines = list(csv.DictReader(io.StringIO(content.decode())))
    assert list(lines[0]) == ["timestamp", "horizon", "model", "variance", "realised", *QUANTILES]

    series = read_bars(bars).series[0]
    stamps = [time_text(stamp) for stamp in series.timestamps]
    models = {line["model"] for line in lines}
    assert {"ensemble", "xgboost", "lstm", "transformer", "linear", "gjr", "garch", "ewma"} < models
    assert {"har", "har_wls", "log_har", "lhar", "lhar_z", "linear_mix", "best_har"} < models
    expected = [(stamp, horizon) for stamp in stamps[FIRST_BAR:] for horizon in ("1", "5")]
    for model in models:
        assert [(line["timestamp"], line["horizon"]) for line in lines if line["model"] == model] == expected

    proxy = series_proxy(series, "garman_klass")
    for line in lines:
        assert float(line["variance"]) > 0.0
        assert repr(float(line["variance"])) == line["variance"]
        origin, horizon = stamps.index(line["timestamp"]), int(line["horizon"])
        if origin + horizon < len(stamps):
            assert float(line["realised"]) == pytest.approx(proxy[origin + 1 : origin + horizon + 1].mean(), rel=1e-12)
        else:
            assert line["realised"] == ""
        quantiles = [line[name] for name in QUANTILES]
        if line["model"] == "ensemble":
            assert (np.diff([float(q) for q in quantiles]) > 0.0).all()
        else:
            assert quantiles == [""] * len(QUANTILES)


def test_report_json_is_strict_json_about_this_backtest(bars: Path, undisturbed: Path) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    report = json.loads((undisturbed / "report.json").read_bytes(), parse_constant=refuse)
    table = read_bars(bars)
    origins = len(table.series[0].bars) - FIRST_BAR
    assert report["data"]["fingerprint"] == table.fingerprint
    assert (report["data"]["bars"], report["data"]["origins"]) == (len(table.series[0].bars), origins)
    assert {h: (s["scored"], s["skipped"]) for h, s in report["horizons"].items()} == {
        "1": (origins - 1, 1),
        "5": (origins - 5, 5),
    }

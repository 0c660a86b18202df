"""What a command refuses: one line on stderr that says what is wrong, an exit code to trust, nothing left behind."""

from __future__ import annotations

import re
import resource
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import Ended, tree, wavecast
from made_by_commands import Made

Lines = list[str]


def _cells(edit: Callable[[list[str]], None]) -> Callable[[Lines], Lines]:
    """Edit the cells timestamp, open, high, low, close, volume of the bar on line 400."""

    def change(lines: Lines) -> Lines:
        cells = lines[399].split(",")
        edit(cells)
        return [*lines[:399], ",".join(cells), *lines[400:]]

    return change


def _set(column: int, value: str) -> Callable[[Lines], Lines]:
    return _cells(lambda cells: cells.__setitem__(column, value))


def _flat(lines: Lines) -> Lines:
    rows = [line.split(",") for line in lines[1:]]
    return [lines[0], *(",".join([row[0], *[row[4]] * 4, row[5]]) for row in rows)]


DATA: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "duplicate time": (lambda ls: [*ls[:400], ls[399], *ls[400:]], "row 401, column 'timestamp' = .* repeats"),
    "unordered times": (lambda ls: [*ls[:399], ls[400], ls[399], *ls[401:]], "row 401, .* must come after"),
    "NaN": (_set(3, "nan"), "row 400, column 'low' = nan: must be finite"),
    "empty cell": (_set(1, ""), "row 400, column 'open' is empty"),
    "text": (_set(4, "n/a"), "row 400, column 'close' = n/a: must be a number"),
    "adjusted close": (_set(4, "1.0"), "row 400, column 'close' = 1.0: .* adjusted closes are probably mixed"),
    "negative price": (_set(3, "-1"), "row 400, column 'low' = -1: prices must be > 0"),
    "missing column": (lambda ls: [ls[0].replace("high", "top"), *ls[1:]], "column 'high' is missing; the file has"),
    "short row": (lambda ls: [*ls[:399], "2000-01-01,1", *ls[400:]], "row 400 has 2 cells; the header has 6"),
    "no rows": (lambda ls: ls[:1], "has a header but no rows"),
    "all-zero ranges": (_flat, "the median garman_klass variance .* is 0; more than half of the bars need a price"),
}
COMMANDS: dict[str, list[str]] = {
    "train": ["train", "--run", "out", "--data", "bars.csv"],
    "backtest": ["backtest", "--out", "out", "--start", "2001-08-01", "--data", "bars.csv"],
    "data import": ["data", "import", "bars.csv", "--out", "out.csv"],
}
# Every command reads bars with the same function: one takes them all, the others prove that they ask it.
REFUSALS = [
    *(("data import", wrong) for wrong in DATA if wrong != "all-zero ranges"),
    *((command, wrong) for command in ("train", "backtest") for wrong in ("adjusted close", "all-zero ranges")),
]


def refused(ended: Ended, code: int, message: str) -> None:
    """One line ``error: ...`` that matches, nothing else; no traceback."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("error: ")
    assert re.search(message, ended.err), ended.err


@pytest.mark.parametrize(("command", "wrong"), REFUSALS)
def test_bars_that_break_the_contract_are_refused_by_row_and_rule(
    bars: Path, tmp_path: Path, command: str, wrong: str
) -> None:
    change, message = DATA[wrong]
    (tmp_path / "bars.csv").write_text("\n".join(change(bars.read_text().splitlines())) + "\n")
    before = tree(tmp_path)
    refused(wavecast(*COMMANDS[command], cwd=tmp_path), 2, message)
    assert tree(tmp_path) == before


@dataclass(frozen=True, slots=True)
class Mistake:
    """What a user typed, with {bars}, {run}, {store}; the exit code and the message."""

    command: str
    message: str
    code: int = 2


TRAIN, BACKTEST = "train --run out --data {bars}", "backtest --out out --data {bars}"
MISTAKES = [
    Mistake("train --run out --data short.csv", "the data has 749 bars; training needs at least 750"),
    Mistake("backtest --out out --data short.csv", "the data has 749 bars, so 0 origins to report; at least 100"),
    Mistake("backtest --out out --data {bars} --quick", "has 900 bars; a quick backtest needs at least 1500"),
    Mistake("train --run out --data none.csv", "there is no file 'none.csv'"),
    Mistake("backtest --out out --data none.csv", "there is no file 'none.csv'"),
    Mistake("predict --store {store} --data none.csv", "there is no file 'none.csv'"),
    Mistake("train --run out --data {run}", "run: is a directory; name one CSV or Parquet file"),
    Mistake("train --run out --data ftp://host/bars.csv", "scheme 'ftp' is unknown; use a path, file:// or s3://"),
    Mistake(f"{TRAIN} --proxy atr", "'--proxy': 'atr' is not one of 'garman_klass', .*; see 'wavecast train --help'"),
    Mistake(f"{TRAIN} --proxy realised", "needs a column 'realised' in the file; add it or choose another proxy"),
    Mistake(f"{BACKTEST} --proxy realised --start 2001-08-01", "needs a column 'realised' in the file"),
    Mistake(f"{TRAIN} --bars-per-year 0", "--bars-per-year is 0; it must be > 0"),
    Mistake(f"{TRAIN} --bars-per-year nan", "--bars-per-year is nan; it must be > 0"),
    Mistake(f"{TRAIN} --seed -1", "'--seed': -1 is not in the range"),
    Mistake("train --data {bars}", "Missing option '--run'; see 'wavecast train --help'"),
    Mistake("train --run {run} --data {bars}", "run folder '.*' exists; name another, or pass --overwrite"),
    Mistake("train --run . --data {bars} --overwrite", "is not a run that 'wavecast train' wrote"),
    Mistake("train --run short.csv/out --data {bars}", "'short.csv/out' cannot be written: Not a directory", 1),
    Mistake(BACKTEST, "the data has 900 bars, so 0 origins to report"),
    Mistake(f"{BACKTEST} --start 1990-01-01", "--start 1990-01-01 leaves 0 bars before it; at least 600 are needed"),
    Mistake(f"{BACKTEST} --start 2030-01-01", "so 0 origins to report; at least 100 are needed from --start 2030"),
    Mistake(f"{BACKTEST} --start NaT", "--start 'NaT' is not a date; write it as YYYY-MM-DD"),
    Mistake(f"{BACKTEST} --start 2001-08-01 --refit-every 0", "--refit-every is 0; it must be at least 1 bar"),
    Mistake("backtest --out short.csv --data {bars} --start 2001-08-01", "cannot be written: Not a directory", 1),
    Mistake("publish --run none --store out", "run 'none' holds no release; run 'wavecast train --run none' first"),
    Mistake("publish --run . --store out", "run '.' holds no release; run 'wavecast train --run .' first"),
    Mistake("publish --run {run} --store short.csv/store", "store 'short.csv/store' cannot be written", 1),
    Mistake("publish --run {run} --store gs://bucket", "scheme 'gs' is unknown; use a path, file:// or s3://"),
    Mistake("predict --data {bars} --store out", "store 'out' does not exist; publish a release to it first"),
    Mistake("predict --data {bars} --store {store} --release 0123456789ab", "store '.*' .* '?.*0123456789ab"),
    Mistake("predict --data few.csv --store {store}", "the file has 127 bars; a forecast needs the last 128"),
    Mistake("predict --data {bars} --store {store} --bars-per-year 0", "--bars-per-year is 0; it must be > 0"),
    Mistake("predict --data {bars} --store {store} --bars-per-year inf", "--bars-per-year is inf; .* finite"),
    Mistake("data demo --out none/bars.csv", "cannot write 'none/bars.csv': No such file or directory", 1),
    Mistake("data demo --out bars.xlsx", "'bars.xlsx': the name must end in .csv"),
    Mistake("demo --dir short.csv", "'short.csv' cannot be written: File exists", 1),
    Mistake("fit", "No such command 'fit'; see 'wavecast --help'"),
]


@pytest.mark.xdist_group("commands")
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.command)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing_behind(made: Made, tmp_path: Path, mistake: Mistake) -> None:
    lines = made.bars.read_text().splitlines(keepends=True)
    (tmp_path / "short.csv").write_text("".join(lines[:750]))
    (tmp_path / "few.csv").write_text("".join(lines[:128]))
    before = tree(tmp_path), tree(made.run.parent)
    command = mistake.command.format(bars=made.bars, run=made.run, store=made.store).split()
    refused(wavecast(*command, cwd=tmp_path), mistake.code, mistake.message)
    assert (tree(tmp_path), tree(made.run.parent)) == before


@pytest.mark.xdist_group("commands")
def test_one_altered_byte_of_a_run_is_named_and_nothing_is_published(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.run, tmp_path / "run")
    model = next((tmp_path / "run" / "models" / "lstm").rglob("model.onnx"))
    content = bytearray(model.read_bytes())
    content[1000] ^= 1
    model.write_bytes(bytes(content))
    before = tree(tmp_path)
    message = "artifact models/lstm/.*: model.onnx was altered"
    refused(wavecast("publish", "--run", "run", "--store", "store", cwd=tmp_path), 1, message)
    assert tree(tmp_path) == before


def limited(size: int) -> Callable[[], None]:
    """A disk that is full after ``size`` bytes a file."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.xdist_group("commands")
def test_a_full_disk_publishes_no_release(made: Made, tmp_path: Path) -> None:
    full = wavecast("publish", "--run", made.run, "--store", "store", cwd=tmp_path, preexec=limited(20_000))
    refused(full, 1, "store 'store' cannot be written at models/.*File too large")
    assert not list(tmp_path.rglob("release.json"))
    complete = wavecast("publish", "--run", made.run, "--store", "store", cwd=tmp_path)
    assert complete.code == 0, complete.err
    assert wavecast("predict", "--data", made.bars, "--store", "store", cwd=tmp_path).code == 0


@pytest.mark.xdist_group("commands")
def test_a_full_disk_makes_no_run(made: Made, tmp_path: Path) -> None:
    full = wavecast("train", "--data", made.bars, "--run", "run", cwd=tmp_path, preexec=limited(20_000))
    refused(full, 1, "'run' cannot be written: File too large; make room there or name another folder")
    assert tree(tmp_path) == {}


@pytest.mark.xdist_group("commands")
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_output_that_cannot_be_written_is_a_failure(made: Made, tmp_path: Path, as_json: list[str]) -> None:
    command = ["predict", "--data", str(made.bars), "--store", str(made.store), *as_json]
    full = wavecast(*command, cwd=tmp_path, stdout=Path("/dev/full"))
    refused(full, 1, "No space left on device")


@pytest.mark.xdist_group("commands")
def test_a_run_on_the_realised_variance_is_for_evaluation_and_never_published(bars: Path, tmp_path: Path) -> None:
    header, *rows = bars.read_text().splitlines()[:801]
    ranges = (f"{row},{1e-4 + 1e-6 * (i % 7)}" for i, row in enumerate(rows))
    (tmp_path / "bars.csv").write_text("\n".join([f"{header},realised", *ranges]) + "\n")
    trained = wavecast("train", "--data", "bars.csv", "--proxy", "realised", "--run", "run", cwd=tmp_path)
    assert trained.code == 0, trained.err
    message = "a release on the proxy 'realised' cannot be published: .* train with garman_klass"
    refused(wavecast("publish", "--run", "run", "--store", "store", cwd=tmp_path), 2, message)
    assert not (tmp_path / "store").exists()


def test_the_traceback_is_shown_only_when_it_is_asked_for(tmp_path: Path) -> None:
    shown = wavecast("--debug", "train", "--run", "out", "--data", "none.csv", cwd=tmp_path)
    assert shown.code == 2
    assert "Traceback (most recent call last):" in shown.err
    assert shown.err.splitlines()[-1] == "error: there is no file 'none.csv'"

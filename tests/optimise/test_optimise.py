"""`wavecast optimise`: bars in, a release and a report out; nothing that a gate refuses; resumed if broken off."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from optimised_run import Optimise, Optimised

from optimization.optimise.page import render_page
from optimization.train.recipe import read_recipe
from optimization.tune.storage import alone, making, open_storage
from predictors.core.artifact import MODEL
from predictors.engine import Engine
from predictors.store import Store, member_folder, newest_release, read_member_manifest, read_release

pytestmark = pytest.mark.xdist_group("optimise")

KINDS = ["lstm", "transformer", "xgboost"]


def trials_in(work: Path) -> dict[str, int]:
    import optuna

    with making(None, work), open_storage(None, work, 1) as storage:
        return {one.study_name: one.n_trials for one in optuna.get_all_study_summaries(storage)}


def work_of(optimised: Optimised) -> Path:
    return next((optimised.folder / "out").glob("work-*"))


def test_the_release_is_in_the_store_and_answers(optimised: Optimised) -> None:
    store = Store(str(optimised.folder / "store"))
    release = read_release(store)
    assert release.manifest.release == optimised.report["published"] == newest_release(store)
    Engine(release)
    assert re.search(rf"published release {release.manifest.release} to store", optimised.said.stdout)


def test_manifests_tell_the_way_from_the_study_to_the_release(optimised: Optimised) -> None:
    """Release -> member -> parent -> study -> bars, in the store, in the report and in the recipes alike."""
    store, work = Store(str(optimised.folder / "store")), work_of(optimised)
    parents = Store(str(work / "run"))
    line = optimised.report["lineage"]
    assert [member["kind"] for member in line["members"]] == KINDS
    for told in line["members"]:
        member = read_member_manifest(store, member_folder(told["kind"], told["version"]))
        assert member.parent is not None
        parent = read_member_manifest(parents, member_folder(told["kind"], member.parent))
        assert parent.parent is None
        assert told["parent"]["version"] == member.parent
        assert (told["bytes"], told["parent"]["bytes"]) == (member.files[MODEL].size, parent.files[MODEL].size)
        recipe = read_recipe(work / "tune" / f"recipe-{told['kind']}.json")
        assert member.study == parent.study == recipe.study is not None
        assert member.study.study == optimised.report["studies"][told["kind"]]["study"]
        assert member.study.data_fingerprint == optimised.report["data"]["fingerprint"] == member.data_fingerprint
        assert {(gate.step, gate.gate, gate.passed) for gate in member.gates} == {
            (step["step"], verdict["gate"], True)
            for step in optimised.report["compressed"]["members"][told["kind"]]["steps"]
            for verdict in step["verdicts"]
        }


def test_store_show_says_study_gates_and_parent(optimised: Optimised) -> None:
    told = optimised.report["lineage"]["members"][0]
    command = [sys.executable, "-m", "predictors.cli", "store", "show", f"lstm/{told['version']}", "--store", "store"]
    shown = subprocess.run(command, cwd=optimised.folder, capture_output=True, text=True, check=True).stdout
    assert told["parent"]["version"] in shown
    assert told["study"]["study"] in shown
    assert "qlike_h1_vs_parent" in shown
    assert "passed" in shown


def test_the_figures_are_those_of_the_stages(optimised: Optimised) -> None:
    report = optimised.report
    assert list(report["studies"]) == ["features", "xgboost", "lstm", "transformer"]
    assert set(report["budget"]["stages_s"]) >= {f"tune-{kind}" for kind in report["studies"]} | {"train"}
    assert report["budget"]["spent_s"] == pytest.approx(sum(report["budget"]["stages_s"].values()))
    held = {one["what"]: one for one in report["must_hold"]}
    assert len(held) == 12
    for kind in ("lstm", "transformer"):
        member = report["compressed"]["members"][kind]
        ratio = member["steps"][-1]["size_bytes"] / member["reference"]["size_bytes"]
        assert held[f"{kind}: bytes beside the reference architecture"]["met"] == (ratio <= 0.4)
        assert all(loss > 0.0 for loss in member["reference"]["qlike"]), "the reference was trained"
    time = held["time: all stages"]
    assert not time["met"], "ten seconds are less than what cannot be cut, and that is said"


class TestPage:
    def test_it_is_one_file_without_scripts_or_network(self, optimised: Optimised) -> None:
        page = (optimised.folder / "out" / "optimisation.html").read_text()
        assert "<script" not in page
        assert not re.search(r"https?:|@import|<link", page)

    def test_it_shows_every_figure_that_must_hold_met_or_not(self, optimised: Optimised) -> None:
        page = (optimised.folder / "out" / "optimisation.html").read_text()
        verdicts = re.findall(r"<span class=(?:better|worse)>(met|not met)</span>", page)
        assert verdicts == ["met" if one["met"] else "not met" for one in optimised.report["must_hold"]]

    def test_it_has_a_frontier_for_every_member_and_all_candidates(self, optimised: Optimised) -> None:
        page = (optimised.folder / "out" / "optimisation.html").read_text()
        for kind in KINDS:
            points = optimised.report["studies"][kind]["frontier"]
            assert f"Loss against latency of {len(points)} candidates of {kind}" in page
            assert f"All {len(points)} candidates of {kind}" in page

    def test_it_tells_the_lineage(self, optimised: Optimised) -> None:
        page = (optimised.folder / "out" / "optimisation.html").read_text()
        for member in optimised.report["lineage"]["members"]:
            assert member["version"] in page
            assert member["parent"]["version"] in page
            assert member["study"]["study"] in page

    def test_a_changed_figure_changes_the_page(self, optimised: Optimised) -> None:
        changed = copy.deepcopy(optimised.report)
        changed["studies"]["lstm"]["outer"][0]["tuned"] = 9.8765
        assert "9.8765" in render_page(changed)
        assert "9.8765" not in render_page(optimised.report)

    def test_what_users_wrote_is_escaped(self, optimised: Optimised) -> None:
        changed = copy.deepcopy(optimised.report)
        changed["data"]["source"] = "<b>bars</b>"
        assert "<b>bars" not in render_page(changed)


def test_run_again_it_keeps_every_finished_stage(optimised: Optimised, optimise: Optimise) -> None:
    work = work_of(optimised)
    before = trials_in(work / "tune")
    again = optimise("--significance", "0", "--json")
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert report["published"] == optimised.report["published"]
    assert report["budget"] == optimised.report["budget"], "a finished stage was done again"
    assert trials_in(work / "tune") == before


def test_a_stage_that_was_broken_off_is_done_again_and_the_others_are_not(
    optimised: Optimised, optimise: Optimise
) -> None:
    """As a kill after training leaves it: the run is complete, the stage is not on record."""
    work = work_of(optimised)
    (work / "stages" / "train.json").unlink()
    again = optimise("--significance", "0", "--json")
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert report["published"] == optimised.report["published"], "the same settings and seed are the same release"
    took, before = report["budget"]["stages_s"], optimised.report["budget"]["stages_s"]
    assert {name for name in took if took[name] != before[name]} == {"train"}


def test_a_release_that_a_gate_refuses_is_not_published_and_the_report_says_why(
    optimised: Optimised, optimise: Optimise
) -> None:
    """The members of the other run, and a gate that none of their ensembles can pass."""
    published = (optimised.folder / "out" / "optimisation.json").read_text()
    refused = optimise("--significance", "0", "--loss-ratio", "0.5", store="empty")
    try:
        assert refused.returncode == 3
        line = refused.stderr.strip().splitlines()[-1]
        assert re.match(
            r"error: release \w{12} is refused, nothing was published: qlike_h1_vs_uncompressed is 1, at most 0.5 is",
            line,
        )
        assert not (optimised.folder / "empty").exists() or not any((optimised.folder / "empty").iterdir())
        report = json.loads((optimised.folder / "out" / "optimisation.json").read_text())
        assert report["published"] is None
        assert any("qlike_h1_vs_uncompressed" in one for one in report["refused"])
        page = (optimised.folder / "out" / "optimisation.html").read_text()
        assert "Nothing was published: qlike_h1_vs_uncompressed" in page
        assert "lstm: step distil was refused and left out: qlike_h1_vs_parent is" in page
        refused_steps = report["compressed"]["members"]["lstm"]["refused"]
        assert "distil" in [step["step"] for step in refused_steps], "a step that loses a gate is left out and shown"
    finally:
        (optimised.folder / "out" / "optimisation.json").write_text(published)


def test_two_do_not_work_on_the_same_at_once(optimised: Optimised, optimise: Optimise) -> None:
    with alone(work_of(optimised)):
        refused = optimise("--significance", "0", "--json")
    assert refused.returncode == 1
    assert re.match(r"error: another 'wavecast' is at work in '.*'; wait for it", refused.stderr)


def test_one_altered_byte_of_a_finished_stage_is_named_and_nothing_is_published(
    optimised: Optimised, optimise: Optimise
) -> None:
    version = optimised.report["compressed"]["members"]["lstm"]["version"]
    model = next(work_of(optimised).glob(f"compressed-*/models/lstm/{version}/{MODEL}"))
    good = model.read_bytes()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    model.write_bytes(bad)
    try:
        refused = optimise("--significance", "0", "--json", store="other")
    finally:
        model.write_bytes(good)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith(f"error: artifact models/lstm/{version}: {MODEL} was altered")
    assert not (optimised.folder / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--budget", "soon"], 2, "--budget 'soon' is no time"),
        (["--jobs", "0"], 2, "--jobs is 0; it must be at least 1"),
        (["--proxy", "realised"], 2, "a release on the proxy 'realised' cannot be published"),
        (["--tune-until", "1999-01-05"], 2, "too few for 2 folds"),
        (["--folds", "50"], 2, "are too few for 50 folds"),
        (["--storage", "postgresql://u:secret@127.0.0.1:1/db"], 1, "study storage postgresql://u:***@127.0.0.1:1/db"),
        (["--store", "gs://bucket/x"], 2, "use a path, file:// or s3://"),
        (["--store", "s3://models/x"], 1, "store 's3://models/x' cannot be listed in 4 tries"),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_published(
    folder: Path,
    optimise: Optimise,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    ended = optimise("--out", "refused", *arguments, "--json")
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert message in ended.stderr
    assert "secret" not in ended.stderr

"""`wavecast store`: what people and machines read, and exit codes that scripts can trust."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from optimization.cli.store import store as command
from optimization.publish import publish
from predictors.core.errors import NotFound
from predictors.store import Store, read_release


def _call(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_ls_shows_releases_newest_first_and_what_none_refers_to(run: str, later_run: str, store_uri: str) -> None:
    store = Store(store_uri)
    manifest = publish(run, store_uri)
    newer = replace(read_release(Store(later_run)).manifest, bars_per_year=365.0)
    newer = replace(newer, release=newer.content_version())
    store.put_new(f"releases/{newer.release}/release.json", newer.to_json())
    store.put_new("models/lstm/aaaaaaaaaaaa/model.onnx", b"half of it")
    listed = json.loads(_call("ls", "--store", store_uri, "--json").output)
    assert [one["release"] for one in listed["releases"]] == [newer.release, manifest.release]
    published = listed["releases"][1]
    assert published["members"] == manifest.members
    assert published["bytes"] > sum(len(one.model) for one in read_release(store, manifest.release).members.values())
    assert listed["unreferenced"] == [{"folder": "models/lstm/aaaaaaaaaaaa", "complete": False, "bytes": 10}]
    for shown in (manifest.release, *manifest.members.values(), "models/lstm/aaaaaaaaaaaa", "unfinished"):
        assert shown in _call("ls", "--store", store_uri).output


def test_ls_goes_on_past_an_altered_manifest_and_says_so(run: str, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "store")
    manifest = next((tmp_path / "store").glob("models/lstm/*/manifest.json"))
    manifest.write_text("{}")
    shown = _call("ls", "--store", str(tmp_path / "store"))
    assert read_release(Store(run)).manifest.release in shown.stdout
    assert f"warning: artifact models/lstm/{manifest.parent.name}: manifest.json" in shown.stderr


def test_show_gives_all_of_a_manifest_and_the_lineage(run: str, store_uri: str) -> None:
    manifest = publish(run, store_uri)
    shown = json.loads(_call("show", manifest.release, "--store", store_uri, "--json").output)
    assert shown["manifest"] == json.loads(manifest.to_json())
    assert {one["kind"]: one["version"] for one in shown["lineage"]} == manifest.members
    kind, version = min(manifest.members.items())
    member = json.loads(_call("show", f"{kind}/{version}", "--store", store_uri, "--json").output)
    assert member["manifest"] == json.loads(Store(store_uri).get(f"models/{kind}/{version}/manifest.json"))
    for name, keys in ((manifest.release, shown["manifest"]), (f"{kind}/{version}", member["manifest"])):
        assert all(key in _call("show", name, "--store", store_uri).output for key in keys)


@pytest.mark.parametrize("name", ["ffffffffffff", "lstm/ffffffffffff"])
def test_show_and_verify_name_what_is_not_there(run: str, tmp_path: Path, name: str) -> None:
    publish(run, str(tmp_path))
    for arguments in (("show", name), ("verify", name)):
        with pytest.raises(NotFound, match="ffffffffffff"):
            _call(*arguments, "--store", str(tmp_path))


def test_verify_exits_with_1_and_a_line_for_each_defect(run: str, tmp_path: Path) -> None:
    release = publish(run, str(tmp_path)).release
    sound = _call("verify", "--store", str(tmp_path))
    assert (sound.exit_code, "all sound" in sound.output) == (0, True)
    models = sorted(tmp_path.glob("models/*/*/model.onnx"))[:2]
    for model in models:
        model.write_bytes(b"other")
    for arguments in ((), (release,)):
        broken = _call("verify", *arguments, "--store", str(tmp_path))
        assert broken.exit_code == 1
        *defects, summary = broken.stdout.splitlines()
        assert [line.split(": model.onnx")[0] for line in defects] == [
            f"artifact {model.parent.relative_to(tmp_path)}" for model in models
        ]
        assert "2 defect(s)" in summary
    assert len(json.loads(_call("verify", "--json", "--store", str(tmp_path)).stdout)["defects"]) == 2


def test_gc_shows_first_and_deletes_only_when_told(tmp_path: Path, run: str) -> None:
    publish(run, str(tmp_path))
    left = tmp_path / "models/lstm/aaaaaaaaaaaa/model.onnx"
    left.parent.mkdir()
    left.write_bytes(b"half of it")
    where = ("--store", str(tmp_path))
    assert "0 object(s)" in _call("gc", "--delete", *where).output  # younger than a day
    shown = _call("gc", "--older-than", "0m", *where)
    assert "1 object(s), 10 B to delete; add --delete" in shown.output
    assert left.exists()
    assert json.loads(_call("gc", "--older-than", "0m", "--delete", "--json", *where).output)["deleted"] is True
    assert not left.exists()
    assert _call("verify", *where).exit_code == 0
    wrong = _call("gc", "--older-than", "soon", *where)
    assert (wrong.exit_code, "'soon' is no age" in wrong.output) == (2, True)

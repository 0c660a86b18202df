"""The collector takes garbage, and nothing else, at any moment, beside any publisher."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from optimization.publish import publish
from predictors.core.artifact import MANIFEST, MemberManifest
from predictors.core.errors import ArtifactError, NotFound, StoreError
from predictors.engine import Engine
from predictors.store import (
    Store,
    claims,
    member_folder,
    read_member,
    read_member_manifest,
    read_release,
)
from predictors.store.collect import collect, garbage

DAY, NOTHING = timedelta(days=1), timedelta(0)


def _paths(store: Store) -> set[str]:
    tops = ("models", "releases", claims.PUBLISHING, claims.COLLECTING)
    return {one.path for top in tops for one in store.objects(top)}


def _age(folder: Path, age: timedelta) -> None:
    then = time.time() - age.total_seconds()
    for file in folder.rglob("*"):
        os.utime(file, (then, then))


def _unreferenced(store: Store, run: str, seed: int = 1, parent: str | None = None) -> MemberManifest:
    """Publish one more sound artifact, a copy of the run's first member by another seed."""
    kind, version = min(read_release(Store(run)).manifest.members.items())
    source = member_folder(kind, version)
    manifest = replace(read_member_manifest(Store(run), source), seed=seed, parent=parent)
    manifest = replace(manifest, version=manifest.content_version())
    for file in manifest.files:
        store.put_new(f"{member_folder(kind, manifest.version)}/{file}", Store(run).get(f"{source}/{file}"))
    store.put_new(f"{member_folder(kind, manifest.version)}/{MANIFEST}", manifest.to_json())
    return manifest


def test_a_release_and_its_members_are_never_collected_however_old(run: str, sibling: str, store_uri: str) -> None:
    manifests = [publish(folder, store_uri) for folder in (run, sibling)]
    store = Store(store_uri)
    before = _paths(store)
    assert collect(store, NOTHING) == []
    assert _paths(store) == before
    for manifest in manifests:
        Engine(read_release(store, manifest.release))


def test_what_no_release_refers_to_and_unfinished_publishes_are_collected(run: str, store_uri: str) -> None:
    publish(run, store_uri)
    store = Store(store_uri)
    before = _paths(store)
    loose = _unreferenced(store, run)
    unfinished = {"models/lstm/aaaaaaaaaaaa/model.onnx", "releases/bbbbbbbbbbbb/golden.npz"}
    for path in unfinished:
        store.put_new(path, b"half of it")
    garbage_paths = unfinished | {
        f"{member_folder(loose.kind, loose.version)}/{file}" for file in (*loose.files, MANIFEST)
    }

    assert garbage(store, DAY) == []
    assert {one.path for one in garbage(store, NOTHING)} == garbage_paths
    assert _paths(store) == before | garbage_paths
    assert {one.path for one in collect(store, NOTHING)} == garbage_paths
    assert _paths(store) == before
    Engine(read_release(store))


def test_age_is_that_of_the_youngest_object_of_a_folder(run: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    loose = _unreferenced(store, run)
    folder = tmp_path / member_folder(loose.kind, loose.version)
    _age(tmp_path, timedelta(hours=25))
    assert len(garbage(store, DAY)) == 3
    (folder / "model.onnx").touch()
    assert garbage(store, DAY) == []
    assert len(garbage(store, DAY, datetime.now(UTC) + timedelta(days=2))) == 3


def test_half_written_files_of_killed_writers_are_collected_from_a_sound_release_too(run: str, tmp_path: Path) -> None:
    publish(run, str(tmp_path))
    left = next(tmp_path.glob("releases/*")) / "golden.npz#1"
    left.write_bytes(b"half of i")
    store = Store(str(tmp_path))
    assert garbage(store, DAY) == []
    assert [one.path for one in collect(store, NOTHING)] == [left.relative_to(tmp_path).as_posix()]
    assert not left.exists()


def test_parents_of_members_are_kept_with_their_own_parents(run: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    store = Store(str(folder))
    grandparent = _unreferenced(store, run, seed=1)
    parent = _unreferenced(store, run, seed=2, parent=grandparent.version)
    member = _unreferenced(store, run, seed=3, parent=parent.version)
    release = read_release(store).manifest
    release = replace(release, members={**release.members, member.kind: member.version})
    release = replace(release, release=release.content_version())
    store.put_new(f"releases/{release.release}/release.json", release.to_json())
    stranger = _unreferenced(store, run, seed=4)
    collect(store, NOTHING)
    for kept in (grandparent, parent, member):
        assert read_member(store, member_folder(kept.kind, kept.version)).manifest == kept
    with pytest.raises(NotFound):
        read_member(store, member_folder(stranger.kind, stranger.version))


@pytest.mark.parametrize("file", ["releases/*/release.json", "models/lstm/*/manifest.json"])
def test_nothing_is_collected_while_a_manifest_is_not_sound(run: str, tmp_path: Path, file: str) -> None:
    publish(run, str(tmp_path))
    store = Store(str(tmp_path))
    _unreferenced(store, run)
    altered = sorted(tmp_path.glob(file))[0]
    altered.write_bytes(altered.read_bytes().replace(b"log_variance", b"log_varianze"))
    before = _paths(store)
    with pytest.raises(ArtifactError, match="was altered; nothing is collected before that is mended"):
        collect(store, NOTHING)
    assert _paths(store) == before


def test_what_is_not_of_a_store_is_left_alone(tmp_path: Path) -> None:
    strange = ["README", "models/README", "models/lstm/README", "models/lstm/aa/deep/x", "releases/README", "bars.csv"]
    for path in strange:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("mine")
    assert collect(Store(str(tmp_path)), NOTHING) == []
    assert all((tmp_path / path).read_text() == "mine" for path in strange)


def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    for command in (garbage, collect):
        with pytest.raises(NotFound, match="does not exist"):
            command(Store(str(tmp_path / "none")), DAY)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("deletions", range(4))
def test_a_collector_that_dies_leaves_no_artifact_half(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    store = Store(str(tmp_path))
    loose = _unreferenced(store, run)
    whole, left = Store.delete, deletions

    def delete(self: Store, path: str) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        whole(self, path)

    monkeypatch.setattr(Store, "delete", delete)
    with pytest.raises(KeyboardInterrupt):
        collect(store, NOTHING)
    folder = member_folder(loose.kind, loose.version)
    if deletions == 0:
        assert read_member(store, folder).manifest == loose
    else:
        with pytest.raises(NotFound):
            read_member(store, folder)
    monkeypatch.undo()
    collect(store, NOTHING)
    assert not (tmp_path / folder).exists()


def test_what_a_publisher_at_work_has_claimed_is_kept_until_its_claim_lapses(run: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    publish(run, str(tmp_path))
    release = read_release(store).manifest
    with claims.publishing(store, release):
        (tmp_path / "releases" / release.release / "release.json").unlink()
        _age(tmp_path / "models", timedelta(days=2))
        assert collect(store, NOTHING) == []
        _age(tmp_path / claims.PUBLISHING, timedelta(hours=23))
        assert collect(store, NOTHING) == []
        _age(tmp_path / claims.PUBLISHING, timedelta(hours=25))
        assert len(collect(store, NOTHING)) == 3 * 3 + 1 + 1
    assert _paths(store) == set()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ArtifactError("altered"), StoreError("full")])
def test_a_publish_leaves_no_claim_however_it_ends(run: str, tmp_path: Path, failure: BaseException) -> None:
    store = Store(str(tmp_path))
    release = read_release(Store(run)).manifest
    with pytest.raises(type(failure)), claims.publishing(store, release):
        raise failure
    assert store.objects(claims.PUBLISHING) == []
    publish(run, str(tmp_path))
    assert store.objects(claims.PUBLISHING) == []


def test_a_publisher_waits_for_a_collector_but_not_for_one_that_died_long_ago(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_WAIT_S", 0.0)
    store = Store(str(tmp_path))
    with claims.collecting(store), pytest.raises(StoreError, match="is being collected by 'wavecast store gc'"):
        publish(run, str(tmp_path))
    assert store.objects("models") == []
    assert store.objects(claims.PUBLISHING) == []
    store.put_new(f"{claims.COLLECTING}/dead.json", b"{}")
    _age(tmp_path / claims.COLLECTING, timedelta(minutes=61))
    publish(run, str(tmp_path))
    Engine(read_release(store))

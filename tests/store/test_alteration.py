"""One altered byte, anywhere in a store, is refused by name: by `verify`, and by what would serve it."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import obstore
import pytest
from obstore.store import LocalStore, S3Store

from optimization.publish import publish
from predictors.core.artifact import FileRecord
from predictors.core.errors import ArtifactError
from predictors.engine import Engine
from predictors.store import Store, read_member_manifest, read_release, read_release_manifest
from predictors.store.inventory import take_inventory
from predictors.store.verify import folders_to_verify, verify


def _defects(store: Store, release: str | None = None) -> list[str]:
    found = take_inventory(store)
    return [defect for one in verify(store, found, folders_to_verify(store, found, release)) for defect in one.defects]


def _outside_created(content: bytes, path: str) -> list[int]:
    """Positions that checksums cover: all but the time of making, which is outside the content hash."""
    positions = list(range(len(content)))
    if path.endswith(".json"):
        start = content.index(b'"created":"') + len(b'"created":"')
        del positions[start : content.index(b'"', start)]
    return positions


def test_any_byte_of_any_object_is_refused_by_verify_and_by_the_engine(run: str, store_uri: str) -> None:
    manifest = publish(run, store_uri)
    store = Store(store_uri)
    if store_uri.startswith("s3"):
        raw = S3Store("models", prefix=store_uri.removeprefix("s3://models/"), client_options={"allow_http": True})
    else:
        raw = LocalStore(store_uri)
    chosen = random.Random(0)
    paths = [one.path for top in ("models", "releases") for one in store.objects(top)]
    assert len(paths) == 11
    for path in paths:
        good = store.get(path)
        covered = _outside_created(good, path)
        for position in {covered[0], covered[-1], *chosen.sample(covered, 4)}:
            bad = bytearray(good)
            bad[position] ^= 1 << chosen.randrange(8)
            obstore.put(raw, path, bytes(bad))
            folder, _, file = path.rpartition("/")
            owner = folder.removeprefix("releases/") if file == "release.json" or "releases" in folder else folder
            for release in (None, manifest.release):
                defects = _defects(store, release)
                assert defects, f"{path}: byte {position} was altered unseen"
                assert any(owner in defect and file in defect for defect in defects)
            with pytest.raises(ArtifactError) as refused:
                Engine(read_release(store))
            assert owner in str(refused.value)
            assert file in str(refused.value)
        obstore.put(raw, path, good)
    assert _defects(store) == []
    Engine(read_release(store))


def test_every_single_byte_of_a_manifest_counts(run: str, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    for file in (next((tmp_path / "store").glob(one)) for one in ("releases/*/*.json", "models/lstm/*/*.json")):
        folder, good = file.parent.relative_to(tmp_path / "store"), file.read_bytes()
        if file.name == "release.json":
            read = partial(read_release_manifest, store, folder.name)
        else:
            read = partial(read_member_manifest, store, str(folder))
        for position in _outside_created(good, file.name):
            bad = bytearray(good)
            bad[position] ^= 1
            file.write_bytes(bad)
            with pytest.raises(ArtifactError, match=folder.name):
                read()
        file.write_bytes(good)


def test_verify_names_what_is_missing_unreadable_unlisted_or_in_the_wrong_place(run: str, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(run, folder)
    lstm, transformer, xgboost = (next(folder.glob(f"models/{kind}/*")) for kind in ("lstm", "transformer", "xgboost"))
    (lstm / "model.onnx").unlink()
    (lstm / "notes.txt").write_text("not part of it")
    transformer.rename(transformer.with_name("0" * 12))
    shutil.rmtree(xgboost)
    release = next(folder.glob("releases/*")).name
    assert sorted(_defects(Store(str(folder)))) == [
        f"artifact models/lstm/{lstm.name}: model.onnx is missing",
        f"artifact models/lstm/{lstm.name}: notes.txt is not in its manifest",
        f"artifact models/transformer/{'0' * 12}: manifest.json is that of transformer {transformer.name}",
        f"release {release}: its member transformer {transformer.name} is not in the store",
        f"release {release}: its member xgboost {xgboost.name} is not in the store",
    ]


def test_golden_arrays_that_cannot_be_read_are_a_defect_though_their_checksum_is_right(
    run: str, tmp_path: Path
) -> None:
    store = Store(str(tmp_path))
    kind, version = next(iter(read_release(Store(run)).manifest.members.items()))
    manifest = read_member_manifest(Store(run), f"models/{kind}/{version}")
    manifest = replace(manifest, files={"golden.npz": FileRecord.of(b"no arrays")})
    manifest = replace(manifest, version=manifest.content_version())
    folder = f"models/{kind}/{manifest.version}"
    store.put_new(f"{folder}/golden.npz", b"no arrays")
    store.put_new(f"{folder}/manifest.json", manifest.to_json())
    assert _defects(store) == [f"artifact {folder}: golden.npz: not a readable .npz file"]

"""A store is write-once, and what was altered, half-written or lost in it is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from predictors.core.artifact import FileRecord, MemberManifest, ReleaseManifest, subset_key, subsets
from predictors.core.errors import ArtifactError, InvalidInput, NotFound, StoreError
from predictors.store import Store, member_folder, newest_release, read_member, read_release


def test_what_is_put_is_got_and_listed(store_uri: str) -> None:
    store = Store(store_uri)
    store.put_new("models/lstm/aa/x", b"1")
    store.put_new("models/lstm/bb/x", b"2")
    assert store.get("models/lstm/bb/x") == b"2"
    assert store.names("models/lstm") == ["aa", "bb"]
    assert store.names("models/nothing") == []


def test_the_same_content_may_be_put_again_and_other_content_never(store_uri: str) -> None:
    store = Store(store_uri)
    store.put_new("a/x", b"1")
    store.put_new("a/x", b"1")
    with pytest.raises(ArtifactError, match="already holds another a/x; nothing is overwritten"):
        store.put_new("a/x", b"2")
    assert store.get("a/x") == b"1"


def test_a_missing_object_is_named(store_uri: str) -> None:
    store = Store(store_uri)
    store.put_new("a/x", b"1")
    with pytest.raises(NotFound, match="has no a/y"):
        store.get("a/y")


def test_a_store_that_does_not_exist_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist; publish a release to it first"):
        newest_release(Store(str(tmp_path / "none")))


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(str(tmp_path / "file" / "store")).put_new("a/x", b"1")


def test_s3_that_refuses_the_credentials_or_is_not_there_says_so(
    s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match="cannot be written at a/x") as refused:
        Store("s3://models/refused").put_new("a/x", b"1")
    assert "wrong" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("uri", ["gs://bucket/x", "ftp://host/x"])
def test_other_schemes_are_refused(uri: str) -> None:
    with pytest.raises(InvalidInput, match="use a path, file:// or s3://"):
        Store(uri)


def _member(files: dict[str, bytes]) -> MemberManifest:
    manifest = MemberManifest(
        kind="lstm",
        version="",
        spec_hash="0" * 64,
        columns=("level_1",),
        target="log_variance",
        horizons=(1, 5),
        files={name: FileRecord.of(content) for name, content in files.items()},
        scores={"qlike_h1": 0.3},
        data_fingerprint="1" * 64,
        seed=0,
        libraries={"numpy": "2"},
        parent=None,
        created="2026-01-01T00:00:00+00:00",
    )
    return replace(manifest, version=manifest.content_version())


FILES = {"model.onnx": b"model", "golden.npz": b"golden"}


@pytest.fixture
def written(store_uri: str) -> tuple[Store, MemberManifest, str]:
    store, manifest = Store(store_uri), _member(FILES)
    folder = member_folder("lstm", manifest.version)
    for name, content in FILES.items():
        store.put_new(f"{folder}/{name}", content)
    return store, manifest, folder


def test_an_artifact_without_a_manifest_does_not_exist(written: tuple[Store, MemberManifest, str]) -> None:
    store, _, folder = written
    with pytest.raises(NotFound, match=r"has no .*manifest.json"):
        read_member(store, folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"mode", "model.onnx has 4 bytes, the manifest says 5"), (b"mod3l", "model.onnx was altered")],
)
def test_an_altered_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    store, manifest = Store(str(tmp_path)), _member(FILES)
    for name, good in {**FILES, "model.onnx": content, "manifest.json": manifest.to_json()}.items():
        store.put_new(name, good)
    with pytest.raises(ArtifactError, match=message):
        read_member(store, "")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    store, manifest = Store(str(tmp_path)), _member(FILES)
    store.put_new("manifest.json", manifest.to_json())
    with pytest.raises(ArtifactError, match=r"model.onnx is missing"):
        read_member(store, "")


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda text: text.replace(b'"seed":0', b'"seed":1'), "it was altered"),
        (lambda text: text[:-20], "half-written or altered"),
        (lambda text: b"[]", "its keys are not those"),
        (lambda text: text.replace(b'"kind"', b'"kinds"'), "its keys are not those"),
    ],
)
def test_an_altered_manifest_is_refused(alter, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        MemberManifest.from_json(alter(_member(FILES).to_json()), "artifact x: manifest.json")


def test_a_version_is_that_of_the_content_and_not_of_the_time() -> None:
    manifest = _member(FILES)
    later = replace(manifest, created="2027-01-01T00:00:00+00:00")
    assert later.content_version() == manifest.version
    assert replace(manifest, seed=1).content_version() != manifest.version
    assert MemberManifest.from_json(later.to_json(), "x") == later


def test_a_release_that_misses_a_calibration_or_a_member_is_refused(tmp_path: Path) -> None:
    from predictors.core.artifact import Calibration

    golden = b"golden"
    calibrations = {
        subset_key(kinds): Calibration(dict.fromkeys(kinds, 1 / len(kinds)), (1.0, 1.0), ((0.0,) * 5,) * 2)
        for kinds in subsets(("lstm", "xgboost"))
    }
    release = ReleaseManifest(
        release="",
        spec="{}",
        proxy="parkinson",
        target="log_variance",
        horizons=(1, 5),
        quantile_levels=(0.05, 0.25, 0.5, 0.75, 0.95),
        bars_per_year=252.0,
        members={"lstm": "0" * 12, "xgboost": "1" * 12},
        calibrations=calibrations,
        benchmark={"1": (0.0, 1.0, 0.0, 0.0, 1.0)},
        scores={},
        data_fingerprint="1" * 64,
        files={"golden.npz": FileRecord.of(golden)},
        created="2026-01-01T00:00:00+00:00",
    )
    release = replace(release, release=release.content_version())
    assert ReleaseManifest.from_json(release.to_json(), "x") == release

    del calibrations["lstm"]
    poorer = replace(release, calibrations=calibrations)
    poorer = replace(poorer, release=poorer.content_version())
    with pytest.raises(ArtifactError, match="no calibration for the members lstm"):
        ReleaseManifest.from_json(poorer.to_json(), "x")

    store = Store(str(tmp_path))
    store.put_new(f"releases/{release.release}/golden.npz", golden)
    assert store.names("releases") == [release.release]
    with pytest.raises(NotFound, match="holds no release"):  # a publisher at work
        newest_release(store)


def test_an_unknown_release_is_named(store_uri: str) -> None:
    store = Store(store_uri)
    store.put_new("releases/x/other", b"")
    with pytest.raises(NotFound, match=r"has no releases/ffff/release.json"):
        read_release(store, "ffff")

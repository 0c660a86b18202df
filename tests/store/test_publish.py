"""A publish is whole or not there, whoever else publishes, whenever it is killed, however the store fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty_s3 import FAULTS, FaultyS3
from publishers import publish_and_die, publish_at_once

from optimization.publish import publish
from predictors.core.errors import ArtifactError, InvalidInput, NotFound, StoreError
from predictors.engine import Engine
from predictors.store import Store, newest_release, read_release
from predictors.store import objects as objects_module
from predictors.store.inventory import take_inventory
from predictors.store.verify import folders_to_verify, verify

# The claim, three members of three files each, and the release's two.
PUTS = 1 + 3 * 3 + 2


def _assert_sound(uri: str) -> list[str]:
    """All that is visible in a store is sound; returns the folders."""
    store = Store(uri)
    found = take_inventory(store)
    folders = folders_to_verify(store, found, None)
    assert [defect for one in verify(store, found, folders) for defect in one.defects] == []
    return folders


def test_publishers_of_the_same_content_at_once_all_succeed_with_the_manifest_that_was_first(
    run: str, later_run: str, store_uri: str
) -> None:
    given = publish_at_once([run, later_run, run, later_run], store_uri)
    release = read_release(Store(store_uri)).manifest
    assert given == [(release.release, release.created)] * 4
    assert len(_assert_sound(store_uri)) == 4


def test_what_was_made_again_at_another_time_is_published_already(run: str, later_run: str, store_uri: str) -> None:
    assert publish(later_run, store_uri) == publish(run, store_uri)


def test_publishers_of_releases_that_share_members_both_succeed(run: str, sibling: str, store_uri: str) -> None:
    given = publish_at_once([run, sibling, sibling, run], store_uri)
    assert sorted({release for release, _ in given}) == sorted(
        newest_release(Store(folder)) for folder in (run, sibling)
    )
    assert len(_assert_sound(store_uri)) == 3 + 2


@pytest.mark.parametrize("puts", range(PUTS))
def test_a_publisher_killed_before_any_put_leaves_no_release_and_the_next_one_completes_it(
    run: str, store_uri: str, puts: int
) -> None:
    assert publish_and_die(run, store_uri, puts) == -9
    if puts:
        _assert_sound(store_uri)
    with pytest.raises(NotFound, match="does not exist|holds no release"):
        newest_release(Store(store_uri))
    publish(run, store_uri)
    Engine(read_release(Store(store_uri)))
    assert len(_assert_sound(store_uri)) == 4


def test_a_publisher_that_is_not_killed_makes_as_many_puts_as_the_test_above_kills_at(run: str, tmp_path: Path) -> None:
    assert publish_and_die(run, str(tmp_path / "store"), PUTS) == 0


def test_a_file_that_went_missing_is_put_back_and_another_in_its_place_is_named(run: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    publish(run, str(store))
    model = next(store.glob("models/lstm/*/model.onnx"))
    model.unlink()
    publish(run, str(store))
    _assert_sound(str(store))

    model.write_bytes(b"other")
    release = next(store.glob("releases/*/release.json"))
    release.unlink()
    with pytest.raises(ArtifactError, match=f"already holds another models/lstm/{model.parent.name}/model.onnx"):
        publish(run, str(store))
    assert not release.exists()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same number of tries, but little patience."""
    monkeypatch.setattr(objects_module, "_WAITS_S", (0.0,) * len(objects_module._WAITS_S))
    assert objects_module._CLIENT["read_timeout"] == "20s"  # what the bound in the docstring of `Store` rests on
    monkeypatch.setitem(objects_module._CLIENT, "read_timeout", "500ms")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_fails_now_and_then_is_published_to(
    run: str, faulty_s3: FaultyS3, tmp_path: Path, fault: str
) -> None:
    faulty_s3.fault, faulty_s3.spoils = fault, lambda n: n % 6 in (0, 1)
    uri = f"s3://models/{tmp_path.name}"
    publish(run, uri)
    assert faulty_s3.requests > 30
    faulty_s3.spoils = lambda n: False
    assert len(_assert_sound(uri)) == 4


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("healthy", [0, 6])
def test_a_store_that_keeps_failing_is_given_up_after_four_tries_in_one_line(
    run: str, faulty_s3: FaultyS3, tmp_path: Path, fault: str, healthy: int
) -> None:
    # It recovers after 50 failures: more patience than promised would end in success.
    faulty_s3.fault, faulty_s3.spoils = fault, lambda n: healthy <= n < healthy + 50
    uri = f"s3://models/{tmp_path.name}"
    with pytest.raises(StoreError, match="cannot be .* in 4 tries: ") as failed:
        publish(run, uri)
    # Once the claim is written, the publisher tries as often to take it back.
    assert faulty_s3.requests == healthy + (8 if healthy else 4)
    assert "\n" not in str(failed.value)
    assert "Debug" not in str(failed.value)

    faulty_s3.spoils = lambda n: False
    _assert_sound(uri)
    with pytest.raises(NotFound, match="holds no release"):
        newest_release(Store(uri))
    publish(run, uri)
    assert len(_assert_sound(uri)) == 4


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", [*FAULTS, "half"])
def test_a_release_is_read_from_a_store_that_fails_now_and_then(
    run: str, faulty_s3: FaultyS3, tmp_path: Path, fault: str
) -> None:
    uri = f"s3://models/{tmp_path.name}"
    publish(run, uri)
    faulty_s3.fault, faulty_s3.spoils = fault, lambda n: n % 6 in (0, 1)
    Engine(read_release(Store(uri)))
    faulty_s3.spoils = lambda n: True
    with pytest.raises(StoreError, match="in 4 tries"):
        read_release(Store(uri))


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "unknown", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_said_at_once(
    run: str, faulty_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StoreError, match=rf"cannot be written at publishing/\w+.json: .*\({reason}\)$"):
        publish(run, "s3://models/refused")
    with pytest.raises(StoreError, match=rf"cannot be listed: .*\({reason}\)$"):
        newest_release(Store("s3://models/refused"))
    with pytest.raises(StoreError, match=rf"cannot be read at a: .*\({reason}\)$"):
        Store("s3://models/refused").get("a")
    assert faulty_s3.requests == 3


def test_a_missing_bucket_is_said_at_once(run: str, faulty_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"'s3://no-such-bucket/x' cannot be listed: .*\(NoSuchBucket\)$"):
        newest_release(Store("s3://no-such-bucket/x"))
    with pytest.raises(StoreError, match=r"cannot be read at a: .*\(NoSuchBucket\)$"):
        Store("s3://no-such-bucket/x").get("a")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "limited")  # the other key may make buckets, and then it is made
    with pytest.raises(StoreError, match="cannot be written at publishing/"):
        publish(run, "s3://no-such-bucket/x")
    assert faulty_s3.requests == 3


def test_an_endpoint_without_a_scheme_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:8333")
    with pytest.raises(InvalidInput, match="AWS_ENDPOINT_URL is 'localhost:8333'; it must begin with http://"):
        Store("s3://models/x")


@pytest.mark.usefixtures("hasty")
def test_without_credentials_the_variables_to_set_are_named(
    s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_environment["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")  # where a cloud machine finds some
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StoreError, match="no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY$"):
        newest_release(Store("s3://models/x"))

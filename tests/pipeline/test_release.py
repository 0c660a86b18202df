"""From training to a published release: the same content is the same release, and every part of it is verified."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from trained_run import Trained

from optimization.data.demo import demo_bars
from optimization.data.write import write_bars
from optimization.publish import publish
from optimization.rows import Rows, make_rows
from optimization.train.trained import TRAINED
from optimization.train.trained import Trained as TrainedMember
from predictors.core.artifact import GOLDEN, KINDS, MANIFEST, MODEL, RELEASE, MemberManifest, ReleaseManifest, subsets
from predictors.core.errors import ArtifactError
from predictors.core.window import OhlcvWindow
from predictors.engine import Engine
from predictors.members.onnx_member import OnnxMember
from predictors.router.combine import combine
from predictors.store import Store, member_folder, read_release, release_folder
from predictors.wavelet.features import compute_features, series_features
from predictors.wavelet.spec import FeatureSpec

pytestmark = pytest.mark.xdist_group("trained")

PARITY = 1e-5


@pytest.fixture(scope="session")
def rows(trained: Trained) -> Rows:
    return make_rows(trained.table, FeatureSpec.from_json(trained.release.spec), series_features)


@pytest.fixture(scope="session")
def store(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the release, and nothing else."""
    place = tmp_path_factory.mktemp("published") / "store"
    assert publish(str(trained.run), str(place)).release == trained.release.release
    return place


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answers(member: OnnxMember, rows: Rows) -> NDArray[np.float64]:
    return member.log_variance(rows.tabular, rows.sequence)


def test_a_run_folder_holds_the_members_and_their_release_and_nothing_else(trained: Trained) -> None:
    expected = {f"{release_folder(trained.release.release)}/{file}" for file in (RELEASE, GOLDEN)}
    for kind, version in trained.release.members.items():
        expected |= {f"{member_folder(kind, version)}/{file}" for file in (MANIFEST, MODEL, GOLDEN, TRAINED)}
    assert set(files(trained.run)) == expected
    assert tuple(sorted(trained.release.members)) == KINDS
    assert [path.name for path in trained.run.parent.iterdir()] == [trained.run.name]


def test_what_is_published_is_what_was_trained(trained: Trained, store: Path) -> None:
    assert files(store) == files(trained.run)


def test_publishing_again_changes_nothing(trained: Trained, store: Path) -> None:
    before = files(store)
    assert publish(str(trained.run), str(store)) == read_release(Store(str(store))).manifest
    assert files(store) == before


def test_the_same_content_made_at_another_time_is_the_same_release(
    trained: Trained, store: Path, tmp_path: Path
) -> None:
    before = files(store)
    later = tmp_path / "later"
    shutil.copytree(trained.run, later)
    for path in later.rglob("*.json"):
        kind = ReleaseManifest if path.name == RELEASE else MemberManifest
        manifest = kind.from_json(path.read_bytes(), path.name)
        path.write_bytes(replace(manifest, created="2031-01-01T00:00:00+00:00").to_json())
    assert publish(str(later), str(store)).release == trained.release.release
    assert files(store) == before


def test_the_same_bars_and_seed_make_the_same_release_from_the_command_line(trained: Trained, tmp_path: Path) -> None:
    """Another process, another file format, another day: the same identifiers."""
    write_bars(trained.table, tmp_path / "bars.parquet")
    command = [sys.executable, "-m", "predictors.cli", "train", "--data", "bars.parquet", "--run", "run", "--json"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    again = read_release(Store(str(tmp_path / "run"))).manifest
    assert (again.release, again.members) == (trained.release.release, trained.release.members)


def test_the_release_answers_windows_that_it_has_not_seen(store: Path) -> None:
    release = read_release(Store(str(store)))
    engine = Engine(release)
    later = demo_bars("nasdaq").series[0].bars[1200:1400]
    window = OhlcvWindow(np.stack([later[:128], later[60:188]]))
    forecast = engine.forecast(window)
    assert forecast.release == release.manifest.release
    assert not forecast.degraded
    block = compute_features(window.bars, engine.spec)
    members = {k: OnnxMember(m.model).log_variance(block.tabular, block.sequence) for k, m in release.members.items()}
    expected = combine(members, release.manifest)
    np.testing.assert_array_equal(forecast.variance, expected.variance)
    np.testing.assert_array_equal(forecast.quantiles, expected.quantiles)
    assert (np.diff(forecast.quantiles, axis=-1) > 0.0).all()
    assert (np.sqrt(252 * forecast.variance) < 1.0).all()
    assert (np.sqrt(252 * forecast.variance) > 0.02).all()


@pytest.mark.parametrize("kinds", subsets(KINDS), ids="+".join)
def test_whoever_answers_is_calibrated(store: Path, rows: Rows, kinds: tuple[str, ...]) -> None:
    """Weights sum to 1, the mean forecast is near the mean outcome, nine of ten outcomes lie in the 90 % interval."""
    release = read_release(Store(str(store)))
    recent = rows.take(np.arange(len(rows) - 400, len(rows) - 5))
    forecast = combine({k: answers(OnnxMember(release.members[k].model), recent) for k in kinds}, release.manifest)
    assert forecast.degraded == (len(kinds) < len(KINDS))
    assert sorted(forecast.members) == sorted(kinds)
    assert sum(forecast.members.values()) == pytest.approx(1.0)
    assert min(forecast.members.values()) > 0.0
    for h in range(2):
        realised, quantiles = recent.realised[:, h], forecast.quantiles[:, h]
        inside = (quantiles[:, 0] <= realised) & (realised <= quantiles[:, -1])
        assert inside.mean() > 0.8
        assert realised.mean() / forecast.variance[:, h].mean() == pytest.approx(1.0, abs=0.25)
    others = release.manifest.calibrations.values()
    assert sum(other.smearing == release.manifest.calibration(forecast.members).smearing for other in others) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_onnx_member_is_the_trained_one(trained: Trained, rows: Rows, kind: str) -> None:
    folder = trained.run / member_folder(kind, trained.release.members[kind])
    member = TrainedMember.from_bytes((folder / TRAINED).read_bytes(), kind)
    exported = answers(OnnxMember((folder / MODEL).read_bytes()), rows)
    assert np.abs(exported - member.log_variance(rows.tabular, rows.sequence)).max() <= PARITY


@pytest.mark.parametrize("file", [MODEL, GOLDEN, TRAINED, MANIFEST, RELEASE])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
def test_one_altered_byte_of_a_run_is_refused_and_nothing_is_published(
    trained: Trained, tmp_path: Path, file: str, place: float
) -> None:
    shutil.copytree(trained.run, tmp_path / "run")
    damaged = next((tmp_path / "run").rglob(file))
    content = bytearray(damaged.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    damaged.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=f"{file}|release.json"):
        publish(str(tmp_path / "run"), str(tmp_path / "store"))
    if file == TRAINED:  # never served: it is verified when it is copied, and stops the release
        assert not list((tmp_path / "store").rglob(RELEASE))
    else:
        assert not (tmp_path / "store").exists()


def test_a_member_that_was_damaged_in_the_store_stops_the_release_before_it_appears(
    trained: Trained, tmp_path: Path
) -> None:
    publish(str(trained.run), str(tmp_path / "store"))
    shutil.rmtree(tmp_path / "store" / "releases")
    damaged = next((tmp_path / "store").rglob(MODEL))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=MODEL):
        publish(str(trained.run), str(tmp_path / "store"))
    assert not list((tmp_path / "store").rglob(RELEASE))

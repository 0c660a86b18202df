"""`wavecast compress`: a new run that passed every gate, or nothing at all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optimization.compress.gates import GateRefused, GateSettings
from optimization.compress.run import CompressReport, CompressSettings, compress_run
from optimization.compress.steps import DEFAULT_STEPS
from optimization.data.bars import BarTable, bar_table
from optimization.parallel import progress_bar
from optimization.publish import publish
from optimization.train.trained import TRAINED
from predictors.core.artifact import MODEL, subset_key, subsets
from predictors.core.errors import ArtifactError, InvalidInput
from predictors.store import Store, newest_release, read_release

LENIENT = GateSettings(loss_ratio=1.1, significance=0.0, latency_ratio=1e9)
"""What twelve hundred bars and a busy machine can always hold: nothing here is about luck or speed."""


def compress(run: Path, table: BarTable, out: Path, **settings: Any) -> CompressReport:
    with progress_bar(enabled=False) as progress:
        return compress_run(str(run), table, CompressSettings(**settings), out, progress)


@pytest.fixture(scope="module")
def done(run: Path, table: BarTable, tmp_path_factory: pytest.TempPathFactory) -> tuple[CompressReport, Path]:
    """Every member by its usual steps."""
    out = tmp_path_factory.mktemp("compressed") / "run"
    return compress(run, table, out, steps=DEFAULT_STEPS, gates=LENIENT), out


class TestCompressed:
    def test_every_member_is_a_smaller_descendant_that_says_what_it_held(
        self, done: tuple[CompressReport, Path], run: Path
    ) -> None:
        report, out = done
        before, after = (read_release(Store(str(folder)), newest_release(Store(str(folder)))) for folder in (run, out))
        assert after.manifest.release == report.release.release != before.manifest.release
        for kind, member in after.members.items():
            parent = before.members[kind].manifest
            assert member.manifest.parent == parent.version == report.members[kind].parent
            assert member.manifest.files[MODEL].size < 0.6 * parent.files[MODEL].size
            gates = member.manifest.gates
            assert all(gate.passed for gate in gates)
            assert {(gate.step, gate.gate) for gate in gates} == {
                (step.step, verdict.gate) for step in report.members[kind].steps for verdict in step.verdicts
            }
            assert {gate.limit for gate in gates if gate.gate.startswith("fidelity")} == {0.03}
            assert {gate.limit for gate in gates if gate.gate == "qlike_h1_vs_parent"} == {1.1}
            assert all((gate.value is None) == (gate.gate == "latency_ratio") for gate in gates)
            rounded = max(gate.value or 0.0 for gate in gates if gate.gate == "fidelity_residual")
            assert 0.0 < rounded < 0.03 if kind != "xgboost" else rounded == 0.0
            assert member.manifest.study is None, "nobody tuned it"
            assert member.manifest.files[MODEL].size == report.members[kind].steps[-1].size_bytes
            assert [step.step for step in report.members[kind].steps] == ["parent", *DEFAULT_STEPS[kind]]

    def test_the_ensemble_is_calibrated_for_every_subset_again(
        self, done: tuple[CompressReport, Path], run: Path
    ) -> None:
        release = done[0].release
        before = read_release(Store(str(run))).manifest
        for kinds in subsets(release.members):
            key = subset_key(kinds)
            assert release.calibrations[key].smearing != before.calibrations[key].smearing

    def test_the_parents_losses_are_those_that_training_found(
        self, done: tuple[CompressReport, Path], run: Path
    ) -> None:
        """The walk repeats training's own, so the pairs are honest and an uncompressed member's scores stay."""
        for kind, member in read_release(Store(str(run))).members.items():
            scores = member.manifest.scores
            assert done[0].members[kind].steps[0].qlike == pytest.approx(
                [scores["qlike_h1"], scores["qlike_h5"]], 1e-12
            )

    def test_it_is_published_whole(self, done: tuple[CompressReport, Path], tmp_path: Path) -> None:
        manifest = publish(str(done[1]), str(tmp_path / "store"))
        for kind, version in manifest.members.items():
            assert (tmp_path / "store" / "models" / kind / version / TRAINED).exists()

    def test_the_report_compares_the_ensembles_and_the_removal_of_each_member(
        self, done: tuple[CompressReport, Path]
    ) -> None:
        names = {"ensemble", "equal weights", "uncompressed", "without lstm", "without transformer", "without xgboost"}
        assert set(done[0].ensemble.qlike) == names
        assert np.isfinite(list(done[0].ensemble.qlike.values())).all()

    def test_what_was_compressed_is_not_compressed_again(
        self, done: tuple[CompressReport, Path], table: BarTable, tmp_path: Path
    ) -> None:
        with pytest.raises(InvalidInput, match="was compressed already, from"):
            compress(done[1], table, tmp_path / "again", steps={"lstm": ("tidy",)})


def test_a_member_that_is_not_named_keeps_its_version_and_spare_members_go_while_two_stay(
    run: Path, table: BarTable, tmp_path: Path
) -> None:
    generous = replace(LENIENT, loss_ratio=10.0)
    report = compress(run, table, tmp_path / "out", steps={"xgboost": ("tidy",)}, gates=generous, drop_members=True)
    before = read_release(Store(str(run))).manifest
    assert len(report.release.members) == 2
    assert set(report.release.members) == set(report.ensemble.kept)
    for kind, version in report.release.members.items():
        assert (version == before.members[kind]) == (kind != "xgboost")


class TestRefused:
    def test_the_gate_and_the_step_are_named_and_nothing_is_written(
        self, run: Path, table: BarTable, tmp_path: Path
    ) -> None:
        strict = replace(LENIENT, fidelity=1e-5)
        with pytest.raises(
            GateRefused, match="lstm: step 'int8' is refused.*fidelity_residual is .* at most 1e-05"
        ) as e:
            compress(run, table, tmp_path / "out", steps={"lstm": ("int8",)}, gates=strict)
        assert e.value.exit_code == 3
        assert list(tmp_path.iterdir()) == []

    def test_a_refused_step_is_left_out_if_so_asked(self, run: Path, table: BarTable, tmp_path: Path) -> None:
        strict = replace(LENIENT, fidelity=1e-5)
        steps = {"lstm": ("int8", "tidy")}
        report = compress(run, table, tmp_path / "out", steps=steps, gates=strict, keep_passing=True).members["lstm"]
        assert [step.step for step in report.steps] == ["parent", "tidy"]
        assert [step.step for step in report.refused] == ["int8"]

    def test_other_bars_are_refused(self, run: Path, table: BarTable, tmp_path: Path) -> None:
        shorter = bar_table([replace(table.series[0], bars=table.series[0].bars * 1.01)], "other")
        with pytest.raises(InvalidInput, match="was made from other bars"):
            compress(run, shorter, tmp_path / "out", steps=DEFAULT_STEPS)

    def test_one_altered_byte_of_the_sidecar_is_found(self, run: Path, table: BarTable, tmp_path: Path) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(run, copy)
        sidecar = next(copy.glob(f"models/lstm/*/{TRAINED}"))
        content = bytearray(sidecar.read_bytes())
        content[len(content) // 2] ^= 1
        sidecar.write_bytes(content)
        with pytest.raises(ArtifactError, match=f"member lstm .*: {TRAINED} was altered"):
            compress(copy, table, tmp_path / "out", steps=DEFAULT_STEPS)
        assert not (tmp_path / "out").exists()

    def test_a_taken_place_is_refused_before_anything_is_computed(self, run: Path, table: BarTable) -> None:
        with pytest.raises(InvalidInput, match="exists"):
            compress(run, table, run, steps=DEFAULT_STEPS)

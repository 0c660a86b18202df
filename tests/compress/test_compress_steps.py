"""Each technique alone, on real members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest
import xgboost
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from optimization.compress.columns import drop_columns, used_columns
from optimization.compress.distil import distil
from optimization.compress.early_stop import best_rounds
from optimization.compress.prune_network import prune_network
from optimization.compress.prune_trees import prune_trees
from optimization.compress.quantise import int8_dynamic, int8_weights
from optimization.compress.steps import DEFAULT_STEPS, STEPS, Step, check_steps, exported, reduced
from optimization.compress.tidy import tidy
from optimization.compress.walk import compress_member
from optimization.rows import Rows
from optimization.train.learner import Fitted
from optimization.train.network import NetworkResidual
from optimization.train.trained import Trained
from optimization.train.xgboost import BoostedLearner, BoostedResidual
from optimization.walkforward import Schedule
from predictors.core.errors import InvalidInput, WavecastError
from predictors.members.onnx_member import OnnxMember
from predictors.wavelet.spec import FeatureSpec

NETWORKS = ("lstm", "transformer")


def each(model: bytes, rows: Rows) -> NDArray[np.float64]:
    return OnnxMember(model).log_variance_each(rows.tabular[:300], rows.sequence[:300])


def split_gains(booster: xgboost.Booster) -> list[float]:
    trees = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    return [gain for tree in trees for gain in tree["loss_changes"] if gain > 0.0]


def proto(member: Trained) -> onnx.ModelProto:
    return onnx.load_from_string(member.model())


def content(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


@pytest.fixture(scope="module", autouse=True)
def short_imitation() -> Iterator[None]:
    """What is tested here holds after few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("optimization.compress.distil.STEPS", 80)
        yield


@pytest.fixture(scope="module")
def past(rows: Rows) -> Rows:
    return rows.matured_by(int(rows.origin[-1]))


@pytest.fixture(scope="module")
def student(members: dict[str, Trained], past: Rows) -> dict[str, Trained]:
    """One seed each."""
    out = {}
    for kind in NETWORKS:
        fitted = distil(members[kind].fitted, members[kind], past, 1)
        out[kind] = replace(members[kind], fitted=fitted)
    return out


class TestTrees:
    def test_the_compact_form_answers_with_the_same_bits_in_half_the_bytes(
        self, members: dict[str, Trained], rows: Rows
    ) -> None:
        plain, compact = exported(members["xgboost"], [members["xgboost"].fitted] * 2, ("compact-trees",))
        np.testing.assert_array_equal(each(compact, rows), each(plain, rows))
        blocks = rows.tabular, rows.sequence
        np.testing.assert_array_equal(
            OnnxMember(compact).log_variance(*blocks), OnnxMember(plain).log_variance(*blocks)
        )
        assert len(compact) < 0.5 * len(plain)

    def test_the_compact_form_goes_the_same_way_on_every_threshold(
        self, members: dict[str, Trained], rows: Rows
    ) -> None:
        plain, compact = exported(members["xgboost"], [members["xgboost"].fitted] * 2, ("compact-trees",))
        node = next(n for n in onnx.load_from_string(compact).graph.node if n.op_type == "TreeEnsemble")
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        splits = numpy_helper.to_array(attributes["nodes_splits"])
        tabular = np.repeat(rows.tabular[:1], len(splits), axis=0)
        tabular[np.arange(len(splits)), attributes["nodes_featureids"]] = splits
        sequence = np.repeat(rows.sequence[:1], len(splits), axis=0)
        np.testing.assert_array_equal(
            OnnxMember(compact).log_variance(tabular, sequence), OnnxMember(plain).log_variance(tabular, sequence)
        )

    def test_a_tree_that_is_one_leaf_has_a_compact_form_too(self, members: dict[str, Trained], rows: Rows) -> None:
        """Targets that do not vary leave nothing to split."""
        constant = np.full((400, 2), 0.5)
        fitted = members["xgboost"].learner.fit(rows.tabular[:400], rows.sequence[:400], constant, 1)
        plain, compact = exported(members["xgboost"], [fitted] * 2, ("compact-trees",))
        np.testing.assert_array_equal(each(compact, rows), each(plain, rows))
        assert fitted.residual(rows.tabular[:1], rows.sequence[:1]).min() > 0.1

    def test_pruning_keeps_what_gains_most_and_its_booster_is_what_is_exported(
        self, members: dict[str, Trained], rows: Rows, past: Rows
    ) -> None:
        whole = members["xgboost"]
        pruned = prune_trees(whole.fitted, whole, past, 1)
        smaller = replace(whole, fitted=pruned)
        np.testing.assert_allclose(
            each(smaller.model(), rows), smaller.log_variance(rows.tabular[:300], rows.sequence[:300]), atol=1e-6
        )
        assert isinstance(whole.fitted, BoostedResidual)
        gains, kept = (split_gains(one.boosters[0][0]) for one in (whole.fitted, pruned))
        assert len(kept) < 0.97 * len(gains), "no split was pruned"
        assert np.mean(kept) > np.mean(gains), "splits of great gain went before those of little"

    def test_a_pruned_tree_answers_with_the_leaf_that_a_shallower_tree_has(self, members: dict[str, Trained]) -> None:
        """Where every second-level split is worthless, one tree of depth 2 becomes the tree of depth 1."""
        draw = np.random.default_rng(0)
        x = draw.normal(size=(2000, 3)).astype(np.float32)
        y = np.where(x[:, 0] > 0, 1.0, -1.0) + 0.01 * draw.normal(size=2000)
        rows = xgboost.DMatrix(x, y)

        def tree(depth: int) -> xgboost.Booster:
            settings = {"max_depth": depth, "eta": 0.03, "lambda": 10.0, "base_score": 0.0}
            return xgboost.train(settings, rows, 1)

        member = members["xgboost"]
        pruned = prune_trees(BoostedResidual(((tree(2),),)), member, None, 1)  # type: ignore[arg-type]  # it reads no rows
        np.testing.assert_array_equal(pruned.boosters[0][0].predict(rows), tree(1).predict(rows))

    def test_rounds_that_only_learn_noise_are_cut_and_those_that_help_stay(
        self, members: dict[str, Trained], rows: Rows
    ) -> None:
        """The first rounds learn an effect that lasts, the later ones noise."""
        member = members["xgboost"]
        effect = np.sign(rows.tabular[:, :1] - np.median(rows.tabular[:, 0])) * np.ones((1, 2))
        noise = np.random.default_rng(0).normal(0.0, 3.0, effect.shape)
        assert isinstance(member.learner, BoostedLearner)
        learner = replace(member.learner, share=(1.0, 1.0), rounds=200, eta=0.2, min_child_weight=1.0, penalty=1.0)
        trial = Trained(
            learner, member.backbone, learner.fit(rows.tabular[:700], rows.sequence[:700], (effect + noise)[:700], 1)
        )
        base = member.backbone.log_variance(rows.tabular)
        later = replace(rows, log_target=base + effect + noise).take(np.arange(700, len(rows)))
        assert all(1 <= rounds < 60 for rounds in best_rounds(trial, later))
        lasting = replace(later, log_target=base[700:] + effect[700:])
        gentle = replace(learner, rounds=8, eta=0.05)
        fitted = gentle.fit(rows.tabular[:700], rows.sequence[:700], effect[:700], 1)
        assert best_rounds(Trained(gentle, member.backbone, fitted), lasting) == (8, 8)


class TestNetworks:
    @pytest.mark.parametrize("kind", NETWORKS)
    def test_the_student_is_one_network_and_nearer_to_the_mean_than_the_one_it_began_from(
        self, members: dict[str, Trained], student: dict[str, Trained], rows: Rows, kind: str
    ) -> None:
        teacher, fitted = members[kind].fitted, student[kind].fitted
        assert isinstance(teacher, NetworkResidual)
        assert isinstance(fitted, NetworkResidual)
        assert {len(value) for value in fitted.parameters.values()} == {1}
        first = replace(teacher, parameters={name: value[:1] for name, value in teacher.parameters.items()})
        taught, began, learned = (one.residual(rows.tabular, rows.sequence) for one in (teacher, first, fitted))
        assert np.square(learned - taught).mean() < 0.5 * np.square(began - taught).mean()

    @pytest.mark.parametrize("kind", NETWORKS)
    def test_a_pruned_network_is_smaller_exports_as_it_answers_and_survives_its_sidecar(
        self, members: dict[str, Trained], student: dict[str, Trained], rows: Rows, past: Rows, kind: str
    ) -> None:
        fitted = prune_network(student[kind].fitted, members[kind], past, 1)
        smaller = replace(student[kind], fitted=fitted)
        shapes = {name: tuple(value.shape) for name, value in fitted.parameters.items()}
        if kind == "lstm":
            assert shapes["recurrent"] == (1, 16, 4)
            assert shapes["head"] == (1, 4, 2)
        else:
            assert (shapes["attention"], shapes["mix"]) == ((1, 16, 24), (1, 8, 16))
            assert (shapes["expand"], shapes["contract"]) == ((1, 16, 16), (1, 16, 16))
        np.testing.assert_allclose(
            each(smaller.model(), rows), smaller.log_variance(rows.tabular[:300], rows.sequence[:300]), atol=1e-5
        )
        assert Trained.from_bytes(smaller.to_bytes(), kind).model() == smaller.model()

    def test_of_several_seeds_each_keeps_the_units_that_reach_furthest_in_it(
        self, members: dict[str, Trained], past: Rows
    ) -> None:
        """Two seeds pruned together are the two pruned alone; no steps are taken, so nothing is recovered."""
        lstm = members["lstm"].fitted
        assert isinstance(lstm, NetworkResidual)
        pruned = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("optimization.compress.prune_network.imitate", lambda student, *_: student)
            together = prune_network(lstm, members["lstm"], past, 1).parameters
            for k in range(2):
                alone = replace(
                    lstm,
                    network=replace(lstm.network, seeds=1),  # type: ignore[type-var]  # networks are dataclasses
                    parameters={name: value[k : k + 1] for name, value in lstm.parameters.items()},
                )
                pruned[k] = prune_network(alone, members["lstm"], past, 1).parameters
        for name, value in together.items():
            for k in range(2):
                np.testing.assert_array_equal(value[k], pruned[k][name][0])

    @pytest.mark.parametrize("kind", NETWORKS)
    def test_int8_weights_leave_the_backbone_exact_and_the_batch_without_influence(
        self, student: dict[str, Trained], rows: Rows, kind: str
    ) -> None:
        before = proto(student[kind])
        after = int8_weights(before)
        doubles = [
            {e.name: e.raw_data for e in m.graph.initializer if e.data_type == TensorProto.DOUBLE}
            for m in (before, after)
        ]
        assert doubles[0] == doubles[1]
        assert any(e.data_type == TensorProto.INT8 for e in after.graph.initializer)
        model = content(after)
        assert len(model) < len(content(before))
        plain = student[kind].backbone.log_variance(rows.tabular[:300])
        answers = each(model, rows)
        error = np.sqrt(np.mean((answers - each(content(before), rows)) ** 2, axis=0))
        assert (error < 0.03 * (answers - plain).std(axis=0)).all()
        together = OnnxMember(model).log_variance(rows.tabular[:300], rows.sequence[:300])
        np.testing.assert_allclose(together, answers, rtol=0.0, atol=1e-6)

    def test_dynamic_int8_makes_an_answer_depend_on_the_windows_beside_it(
        self, student: dict[str, Trained], rows: Rows
    ) -> None:
        """Why it is not among the usual steps: the gate 'batch' refuses it."""
        model = content(int8_dynamic(proto(student["lstm"])))
        together = OnnxMember(model).log_variance(rows.tabular[:100], rows.sequence[:100])
        assert np.max(np.abs(together - each(model, rows)[:100])) > 1e-5


class TestGraph:
    def test_columns_without_a_coefficient_leave_and_the_answers_stay(
        self, members: dict[str, Trained], rows: Rows
    ) -> None:
        coefficients = members["lstm"].backbone.coefficients.copy()
        coefficients[10:30] = 0.0
        member = replace(members["lstm"], backbone=replace(members["lstm"].backbone, coefficients=coefficients))
        assert np.flatnonzero(~used_columns(member)).tolist() == list(range(10, 30))
        before = proto(member)
        after = drop_columns(before)
        assert len(content(after)) < len(content(before))
        np.testing.assert_allclose(each(content(after), rows), each(content(before), rows), rtol=0.0, atol=1e-12)
        assert {entry.name for entry in after.graph.input} == {"tabular", "sequence"}

    def test_columns_that_are_too_few_to_be_worth_a_gather_stay_in_the_graph(self, members: dict[str, Trained]) -> None:
        """They are not listed in the manifest all the same."""
        coefficients = members["lstm"].backbone.coefficients.copy()
        coefficients[7] = 0.0
        member = replace(members["lstm"], backbone=replace(members["lstm"].backbone, coefficients=coefficients))
        assert np.flatnonzero(~used_columns(member)).tolist() == [7]
        assert content(drop_columns(proto(member))) == member.model()

    def test_a_column_that_only_a_tree_reads_is_used(self, members: dict[str, Trained]) -> None:
        boosted = members["xgboost"]
        nothing = replace(boosted.backbone, coefficients=np.zeros_like(boosted.backbone.coefficients))
        used = used_columns(replace(boosted, backbone=nothing))
        assert isinstance(boosted.fitted, BoostedResidual)
        split = {name for bags in boosted.fitted.boosters for one in bags for name in one.get_score()}
        assert set(np.flatnonzero(used)) == {int(name[1:]) for name in split}

    def test_a_member_that_uses_all_columns_stays_as_it_is(self, members: dict[str, Trained]) -> None:
        assert content(drop_columns(proto(members["lstm"]))) == members["lstm"].model()

    @pytest.mark.parametrize("kind", [*NETWORKS, "xgboost"])
    def test_tidying_keeps_every_bit_and_has_nothing_left_to_do_the_second_time(
        self, members: dict[str, Trained], rows: Rows, kind: str
    ) -> None:
        once = tidy(proto(members[kind]))
        np.testing.assert_array_equal(each(content(once), rows), each(members[kind].model(), rows))
        assert len(content(once)) < len(members[kind].model())
        assert content(tidy(once)) == content(once)

    def test_equal_constants_are_shared_and_unused_ones_dropped(self, members: dict[str, Trained]) -> None:
        model = proto(members["lstm"])
        twin = onnx.TensorProto()
        twin.CopyFrom(next(e for e in model.graph.initializer if e.name == "backbone_mean"))
        twin.name = "twin"
        model.graph.initializer.append(twin)
        next(n for n in model.graph.node if "backbone_mean" in n.input).input[1] = "twin"
        model.graph.initializer.append(numpy_helper.from_array(np.ones(1000), "unused"))
        assert content(tidy(model)) == content(tidy(proto(members["lstm"])))


def test_the_usual_steps_are_known_and_in_order() -> None:
    for kind, names in DEFAULT_STEPS.items():
        assert check_steps(kind, names[::-1]) == names


def test_a_step_for_another_kind_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInput, match="step 'distil' is not for a member xgboost; choose from early-stop"):
        check_steps("xgboost", ["distil"])


@pytest.mark.parametrize("kind", [*NETWORKS, "xgboost"])
def test_the_same_member_compresses_to_the_same_bytes(members: dict[str, Trained], past: Rows, kind: str) -> None:
    names = DEFAULT_STEPS[kind]
    one, other = (exported(members[kind], reduced(members[kind], names, past, 1), names) for _ in range(2))
    assert one == other


def test_a_forecast_that_is_not_a_number_ends_the_walk_with_the_step_and_the_fold(
    members: dict[str, Trained], rows: Rows
) -> None:
    def broken(current: Fitted, *_: object) -> Fitted:
        assert isinstance(current, NetworkResidual)
        return replace(current, parameters={**current.parameters, "head": current.parameters["head"] * np.nan})

    message = "lstm: after step 'distil' a forecast of the fold at bar 1000 is not a number"
    walk = partial(compress_member, rows, FeatureSpec(), members["lstm"].to_bytes(), ("distil",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STEPS, "distil", Step("distil", ("lstm",), reduce=broken))
        with pytest.raises(WavecastError, match=message):
            walk(Schedule(1000, 66), 1, advance=lambda: None)

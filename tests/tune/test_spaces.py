"""What may be suggested is valid, and the default is among it."""

from __future__ import annotations

import json

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from optimization.train.members import LEARNERS, learner_from, recipe_of
from optimization.tune.spaces import MEMBER_SPACES, features
from predictors.core.artifact import KINDS
from predictors.wavelet.spec import FeatureSpec

optuna.logging.set_verbosity(optuna.logging.CRITICAL)

seeds = st.integers(0, 2**31 - 1)


def random_trial(seed: int) -> optuna.Trial:
    """A trial whose suggestions are drawn at random."""
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask()


def test_every_kind_has_a_space() -> None:
    assert set(MEMBER_SPACES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_begins_with_the_default_learner(kind: str) -> None:
    space = MEMBER_SPACES[kind]
    assert space.suggest(FixedTrial(dict(space.defaults)), FeatureSpec()) == LEARNERS[kind]


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
@settings(max_examples=25)
def test_every_suggestion_is_a_learner_that_its_recipe_gives_back(kind: str, seed: int) -> None:
    space, spec = MEMBER_SPACES[kind], FeatureSpec(sequence_bars=32)
    learner = space.suggest(random_trial(seed), spec)
    resized = space.suggest_size(random_trial(seed + 1), learner, spec)
    for one in (learner, resized):
        assert learner_from(kind, json.loads(json.dumps(recipe_of(one)))) == one
        if kind != "xgboost":
            assert recipe_of(one)["network"]["bars"] <= spec.sequence_bars


@pytest.mark.parametrize("kind", KINDS)
@given(seed=seeds)
@settings(max_examples=25)
def test_a_learner_is_among_the_sizes_around_it(kind: str, seed: int) -> None:
    space, spec = MEMBER_SPACES[kind], FeatureSpec()
    for learner in (LEARNERS[kind], space.suggest(random_trial(seed), spec)):
        size = space.size_of(learner)
        assert space.suggest_size(FixedTrial(size), learner, spec) == learner
        halved = size | {name: max(1, size[name] // 2) for name in space.halved}
        assert space.size_of(space.suggest_size(FixedTrial(halved), learner, spec)) == halved


def test_the_features_begin_with_the_default_spec() -> None:
    assert features.suggest(FixedTrial(features.DEFAULTS), "parkinson") == FeatureSpec(proxy="parkinson")


@given(seed=seeds)
def test_every_suggested_spec_is_valid_and_fits_the_longest_window(seed: int) -> None:
    spec = features.suggest(random_trial(seed), "garman_klass")
    assert FeatureSpec.from_json(spec.to_json()) == spec
    assert spec.window_bars <= 256
    assert set(features.ALWAYS) <= set(spec.groups)

"""One search space per model type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import BaseTrial

from optimization.train.learner import Learner
from optimization.tune.spaces import lstm, transformer, xgboost
from predictors.wavelet.spec import FeatureSpec


@dataclass(frozen=True, slots=True)
class MemberSpace:
    """What may vary of one kind of member.

    Attributes
    ----------
    defaults
        Parameters at which ``suggest`` gives the default learner; every study begins there.
    suggest
        A learner of the search on a feature spec.
    size_of, suggest_size
        The settings that decide latency and bytes, and a learner with others of them.
    halved
        Of those, the ones that can be halved for speed with the rest unchanged, in that order.
    """

    defaults: Mapping[str, Any]
    suggest: Callable[[BaseTrial, FeatureSpec], Learner]
    size_of: Callable[[Any], dict[str, Any]]
    suggest_size: Callable[[BaseTrial, Any, FeatureSpec], Learner]
    halved: tuple[str, ...]


MEMBER_SPACES: dict[str, MemberSpace] = {
    kind: MemberSpace(space.DEFAULTS, space.suggest, space.size_of, space.suggest_size, space.HALVED)
    for kind, space in (("lstm", lstm), ("transformer", transformer), ("xgboost", xgboost))
}

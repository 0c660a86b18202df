"""What decides a study."""

from __future__ import annotations

import re
from dataclasses import dataclass

from optimization.train.recipe import FEATURES
from predictors.core.artifact import KINDS
from predictors.core.errors import InvalidInput
from predictors.wavelet.spec import FeatureSpec

DEFAULT_BUDGET_S = 600.0
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class TuneSettings:
    """What a user chooses.

    Attributes
    ----------
    kind
        A member, or `FEATURES` for the feature spec of all members.
    data
        URI of the bars.
    out
        Folder for the journal, the recipe and the frontier.
    spec
        Canonical JSON of the feature spec that a member is tuned on; where `FEATURES` begins.
    storage
        URL of a PostgreSQL database; ``None`` for a journal file in ``out``.
    study
        Name of the study in its storage.
    trials
        Of the search; ``None`` for as many as the budget allows.
    budget_s
        Seconds in all; ``None`` without a limit.
    jobs
        Worker processes.
    folds
        Inner folds; ``None`` for as many as the budget allows.
    tune_until
        First date that is not touched; ``None`` for 70 % of the bars.
    max_bytes
        Largest artifact; ``None`` for that of the default settings.
    seed
        Of the learners, the samplers and the order of the folds.
    heartbeat_s
        A worker on PostgreSQL that is silent for three of these is dead.
    """

    kind: str
    data: str
    out: str
    spec: str
    storage: str | None = None
    study: str = ""
    trials: int | None = None
    budget_s: float | None = None
    jobs: int = 1
    folds: int | None = None
    tune_until: str | None = None
    max_bytes: int | None = None
    seed: int = 0
    heartbeat_s: int = 10

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, FEATURES):
            raise InvalidInput(f"--member '{self.kind}' is unknown; choose one of {', '.join((*KINDS, FEATURES))}")
        for option, value in (("trials", self.trials), ("jobs", self.jobs), ("max-bytes", self.max_bytes)):
            if value is not None and value < 1:
                raise InvalidInput(f"--{option} is {value}; it must be at least 1")
        if self.folds is not None and self.folds < 2:
            raise InvalidInput(f"--folds is {self.folds}; a paired test needs at least 2")

    @property
    def feature_spec(self) -> FeatureSpec:
        """``spec`` as an object."""
        return FeatureSpec.from_json(self.spec)


def parse_budget(text: str) -> float:
    """Seconds of ``90s``, ``10m`` or ``1.5h``.

    Raises
    ------
    InvalidInput
        For anything else, or less than a second.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None or float(match[1]) * _UNITS_S[match[2]] < 1.0:
        raise InvalidInput(f"--budget '{text}' is no time; write it as 90s, 10m or 1.5h")
    return float(match[1]) * _UNITS_S[match[2]]

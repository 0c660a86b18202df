"""What decides an optimisation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from optimization.compress.gates import GateSettings
from optimization.tune.study import code_version
from predictors.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class OptimiseSettings:
    """What a user chooses.

    Attributes
    ----------
    data
        URI of the bars.
    store
        URI that the release goes to.
    out
        Folder of the report and of what an interrupted run leaves.
    budget_s
        Seconds in all; see `optimization.optimise.budget`.
    jobs
        Worker processes of a study.
    storage
        URL of a PostgreSQL database for the studies; ``None`` for a journal file in ``out``.
    proxy, bars_per_year, seed
        As in `optimization.train.run.TrainSettings`.
    tune_until
        First date that tuning does not see; ``None`` for 70 % of the bars.
    folds
        Inner folds of every study; ``None`` for as many as the budget allows.
    gates
        Limits of what may be published.
    """

    data: str
    store: str
    out: str
    budget_s: float
    jobs: int = 1
    storage: str | None = None
    proxy: str = "garman_klass"
    bars_per_year: float = 252.0
    seed: int = 0
    tune_until: str | None = None
    folds: int | None = None
    gates: GateSettings = field(default_factory=GateSettings)

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise InvalidInput(f"--jobs is {self.jobs}; it must be at least 1")

    def key(self, data_fingerprint: str) -> str:
        """Of the bars, the code and all settings that decide the members before compression: what is resumed."""
        free = ("data", "store", "out", "storage", "jobs", "gates")
        return _digest([data_fingerprint, code_version(), {k: v for k, v in asdict(self).items() if k not in free}])

    @property
    def gates_key(self) -> str:
        """Of the gates, which only compression is put to."""
        return _digest(asdict(self.gates))


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

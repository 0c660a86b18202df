"""A study and what it was made for: it is resumed by nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import optuna
import xgboost
from optuna.pruners import WilcoxonPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optimization.tune.folds import Blocks
from optimization.tune.storage import experiments
from predictors.core.errors import InvalidInput, WavecastError

MOST_GP_TRIALS = 300
"""Beyond, a Gaussian process costs more than the trial that it proposes."""
STARTUP_TRIALS = 8

IDENTITY = "identity"
WORKER = "worker"
ERROR = "error"
RECIPE = "recipe"
STOPPED_AFTER = "stopped_after"
CLOSED = "closed"

OWN_ERRORS = (WavecastError, RuntimeError, xgboost.core.XGBoostError)
"""What a trial may fail with because of its parameters; torch raises RuntimeError."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a study's values depend on beside a trial's parameters.

    Attributes
    ----------
    kind
        What is tuned.
    data_fingerprint
        Of the whole table.
    spec_hash
        Of the feature spec that it is tuned on, or begins with.
    tune_until
        Timestamp (ns, UTC) of the first bar that it does not see.
    seed
        Of the learners.
    code_version
        Of wavecast.
    folds
        Blocks, [first, end) on the timeline.
    """

    kind: str
    data_fingerprint: str
    spec_hash: str
    tune_until: int
    seed: int
    code_version: str
    folds: Blocks

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"folds": [list(block) for block in self.folds]}


def code_version() -> str:
    """Version of this code."""
    return version("wavecast")


def open_study(
    name: str,
    storage: BaseStorage,
    expected: Mapping[str, Any],
    folds: int | None,
    plan: Callable[[], Blocks],
    first_trial: Mapping[str, Any],
) -> tuple[Study, Identity]:
    """Load the study of a name, or make it; to be called by one process at a time.

    Parameters
    ----------
    expected
        Fields of its `Identity` except the folds.
    folds
        How many the user asks for.
    plan
        Decides the folds of a new study.
    first_trial
        Parameters that a new study begins with.

    Raises
    ------
    InvalidInput
        If a study of that name was made for something else.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        study = optuna.create_study(study_name=name, storage=storage)
    kept = study.user_attrs.get(IDENTITY)
    if kept is None and study.get_trials(deepcopy=False):
        raise InvalidInput(f"study '{name}' was not made by 'wavecast tune'; name another with --study")
    if kept is None:
        identity = Identity(**expected, folds=plan())
        study.set_user_attr(IDENTITY, identity.as_json())
    else:
        identity = Identity(**{**kept, "folds": tuple((int(a), int(b)) for a, b in kept["folds"])})
        _check(name, identity, expected, folds)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(dict(first_trial))
    return study, identity


def make_sampler(kind: str, seed: int, index: int, study: Study) -> BaseSampler:
    """The sampler of one worker: TPE for boosting and features, a Gaussian process for the slow networks.

    Workers of one study, and a worker that resumes, must not repeat each other's draws.
    """
    trials = len(study.get_trials(deepcopy=False))
    own = int(np.random.SeedSequence([seed, index, trials]).generate_state(1)[0])
    if kind in ("lstm", "transformer") and trials < MOST_GP_TRIALS:
        return GPSampler(seed=own, n_startup_trials=STARTUP_TRIALS, warn_independent_sampling=False)
    return TPESampler(seed=own, n_startup_trials=STARTUP_TRIALS)


def make_pruner() -> WilcoxonPruner:
    """Stops a trial whose folds are worse than the best trial's by a signed-rank test on the pairs."""
    with experiments():
        return WilcoxonPruner(p_threshold=0.1)


def done(study: Study) -> list[FrozenTrial]:
    """Trials that ended by themselves: with a value, or with an error of their own."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
    return [t for t in trials if t.state is TrialState.COMPLETE or ERROR in t.user_attrs]


def running(study: Study) -> list[FrozenTrial]:
    """Trials that a worker is at, or was when it died."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def waiting(study: Study) -> bool:
    """Whether parameters are queued."""
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def spent_s(study: Study) -> float:
    """Seconds of work that ended trials took."""
    return sum(t.duration.total_seconds() for t in done(study) if t.duration is not None)


def trial_s(study: Study) -> float:
    """Median seconds of a trial; 0 if none has ended."""
    durations = [t.duration.total_seconds() for t in done(study) if t.duration is not None]
    return statistics.median(durations) if durations else 0.0


def scored(study: Study) -> list[FrozenTrial]:
    """Trials with a value for every fold, the best first."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    whole = [t for t in trials if STOPPED_AFTER not in t.user_attrs and RECIPE in t.user_attrs]
    return sorted(whole, key=lambda t: (t.values[0], t.number))


def winner(study: Study) -> FrozenTrial:
    """The trial of least loss.

    Raises
    ------
    WavecastError
        If no trial has a value.
    """
    best = scored(study)
    if best:
        return best[0]
    errors = [t.user_attrs[ERROR] for t in done(study) if ERROR in t.user_attrs]
    why = f"the last says: {errors[-1]}" if errors else "none was finished; give it more --trials or a longer --budget"
    raise WavecastError(f"study '{study.study_name}' has no valid trial among {len(study.trials)}: {why}")


def _check(name: str, found: Identity, expected: Mapping[str, Any], folds: int | None) -> None:
    names = {
        "kind": "member",
        "data_fingerprint": "data fingerprint",
        "spec_hash": "feature spec",
        "tune_until": "tune_until",
        "seed": "seed",
        "code_version": "code version",
    }
    wrong = [(text, getattr(found, key), expected[key]) for key, text in names.items()]
    wrong += [("number of folds", len(found.folds), len(found.folds) if folds is None else folds)]
    for text, had, has in wrong:
        if had != has:
            raise InvalidInput(
                f"study '{name}' was made for {text} {_short(had)}, this is {_short(has)}; "
                "name another with --study, or another --out"
            )


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text  # a sha256

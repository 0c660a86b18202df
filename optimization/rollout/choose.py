"""From what a user typed to a command of the planner; a release that is new to the traffic is verified first."""

from __future__ import annotations

from optimization.rollout.admission import admit
from optimization.rollout.intent import promoted, rolled_back
from optimization.rollout.plan import Canary, Promote, Rollback, plan
from optimization.rollout.situation import Situation, open_store
from optimization.rollout.state import RunningRelease


def chosen_canary(now: Situation, release: str, percent: int, store: str | None, allow_contract_change: bool) -> Canary:
    """A canary that was verified, unless it is the canary already.

    Raises
    ------
    InvalidInput
        If it makes no sense now; told before anything is read.
    ReleaseRefused, NotFound, StoreError
        As for `optimization.rollout.admission.admit`.
    """
    running = RunningRelease(release, {})
    plan(now.rollout, Canary(running, percent))
    if release != now.rollout.traffic.canary:
        running = _admitted(now, release, store, allow_contract_change)
    return Canary(running, percent)


def chosen_promotion(now: Situation, release: str | None) -> Promote:
    """The named release, the canary, or the one whose promotion was interrupted.

    Raises
    ------
    InvalidInput
        If there is none.
    """
    return Promote(release or promoted(now.rollout, now.installed))


def chosen_rollback(now: Situation, release: str | None, store: str | None, allow_contract_change: bool) -> Rollback:
    """The named release or the one that was stable before; verified unless it runs.

    Raises
    ------
    InvalidInput
        If there is none, or it makes no sense now.
    ReleaseRefused, NotFound, StoreError
        As for `optimization.rollout.admission.admit`.
    """
    wanted = release or rolled_back(now.rollout, now.installed, now.rollout_at)
    running = now.rollout.find(wanted)
    plan(now.rollout, Rollback(running or RunningRelease(wanted, {})))
    return Rollback(running or _admitted(now, wanted, store, allow_contract_change))


def _admitted(now: Situation, release: str, store: str | None, allow_contract_change: bool) -> RunningRelease:
    source = open_store(now.computed, store)
    stable = now.rollout.traffic.stable
    return RunningRelease(release, admit(source, release, stable, allow_contract_change=allow_contract_change))

"""What a release must pass, here and now, before a cluster is asked to run it."""

from __future__ import annotations

from optimization.rollout.contract import contract_changes
from predictors.core.errors import ArtifactError, NotReady, WavecastError
from predictors.engine import Engine
from predictors.store import Store, read_release, read_release_manifest
from predictors.store.inventory import take_inventory
from predictors.store.verify import folders_to_verify, verify


class ReleaseRefused(WavecastError):
    """A release that must not be served; nothing was changed."""

    exit_code = 3


def admit(store: Store, release: str, stable: str, *, allow_contract_change: bool) -> dict[str, str]:
    """Verify a release and return its member versions by kind.

    Parameters
    ----------
    store
        That the cluster reads.
    release
        To be run.
    stable
        Whose clients it would answer.
    allow_contract_change
        Whether it may differ from what they rely on.

    Raises
    ------
    NotFound
        If the store has no such release.
    ReleaseRefused
        If a file of it is missing or altered, if it answers its golden windows otherwise on this machine, or breaks
        the contract.
    StoreError
        If the store cannot be read.
    """
    found = take_inventory(store)
    defects = [
        defect
        for checked in verify(store, found, folders_to_verify(store, found, release))
        for defect in checked.defects
    ]
    if defects:
        more = f" (and {len(defects) - 1} more; 'wavecast store verify {release}' lists them)" if defects[1:] else ""
        raise ReleaseRefused(f"release {release} does not verify: {defects[0]}{more}; publish it again")
    try:
        manifest = Engine(read_release(store, release)).manifest
    except (ArtifactError, NotReady) as wrong:
        raise ReleaseRefused(f"release {release} is not fit to serve: {wrong}") from wrong
    changes = contract_changes(read_release_manifest(store, stable), manifest)
    if changes and not allow_contract_change:
        raise ReleaseRefused(
            f"release {release} is not what clients of {stable} rely on: {'; '.join(changes)}; "
            "if that is meant, add --allow-contract-change"
        )
    return dict(manifest.members)

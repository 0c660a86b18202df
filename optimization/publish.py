"""Publishing: a run's release goes to a store whole, or not at all."""

from __future__ import annotations

from predictors.core.artifact import GOLDEN, MANIFEST, MODEL, RELEASE, ReleaseManifest
from predictors.core.errors import InvalidInput, NotFound
from predictors.core.proxies import REALISED
from predictors.engine import Engine
from predictors.store import Store, member_folder, newest_release, read_release, release_folder


def publish(run: str, store_uri: str) -> ReleaseManifest:
    """Verify the release of a run folder and copy it to a store, manifests last.

    Parameters
    ----------
    run
        Folder that `optimization.train.run.train_run` wrote.
    store_uri
        Path, ``file://`` or ``s3://`` of the store.

    Returns
    -------
    The release's manifest.

    Raises
    ------
    NotFound
        If the folder holds no release.
    ArtifactError
        If a file of the run, or one already in the store, is not what its manifest says.
    NotReady
        If the golden windows are answered differently on this CPU.
    InvalidInput
        If the release needs a column that requests do not carry.
    StoreError
        If the store cannot be written.
    """
    source, target = Store(run), Store(store_uri)
    try:
        release = read_release(source, newest_release(source))
    except NotFound as missing:
        raise NotFound(f"run '{run}' holds no release; run 'wavecast train --run {run}' first") from missing
    manifest = release.manifest
    if manifest.proxy == REALISED:
        raise InvalidInput(
            "a release on the proxy 'realised' cannot be published: requests carry bars, not that column; "
            "train with garman_klass, parkinson or squared_return"
        )
    Engine(release)
    for kind, version in sorted(manifest.members.items()):
        _copy(source, target, member_folder(kind, version), (MODEL, GOLDEN), MANIFEST)
    _copy(source, target, release_folder(manifest.release), (GOLDEN,), RELEASE)
    return read_release(target, manifest.release).manifest


def _copy(source: Store, target: Store, folder: str, files: tuple[str, ...], manifest: str) -> None:
    """Copy what is not there yet; a manifest that is there already vouches for its folder."""
    try:
        target.get(f"{folder}/{manifest}")
    except NotFound:
        for file in (*files, manifest):
            target.put_new(f"{folder}/{file}", source.get(f"{folder}/{file}"))

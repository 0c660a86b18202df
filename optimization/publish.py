"""Publishing: a run's release goes to a store whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from predictors.core.artifact import MANIFEST, RELEASE, FileRecord, ReleaseManifest, check_file
from predictors.core.errors import ArtifactError, InvalidInput, NotFound
from predictors.core.proxies import REALISED
from predictors.engine import Engine
from predictors.store import (
    Store,
    member_folder,
    newest_release,
    read_member_manifest,
    read_release,
    read_release_manifest,
    release_folder,
)
from predictors.store.claims import publishing


def publish(run: str, store_uri: str) -> ReleaseManifest:
    """Verify the release of a run folder and copy it to a store, manifests last.

    Every object is written once, and each manifest after all that it vouches for: files of a member,
    its manifest, the release's golden windows, ``release.json``. Broken off anywhere, the store shows
    nothing of the release, and publishing it again completes it. Publishers of the same content, and
    collectors, may be at work at the same time.

    Parameters
    ----------
    run
        Folder that `optimization.train.run.train_run` wrote.
    store_uri
        Path, ``file://`` or ``s3://`` of the store.

    Returns
    -------
    The release's manifest, as it is in the store.

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
        If the store cannot be written, or is being collected.
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
    with publishing(target, manifest):
        for kind, member in sorted(release.members.items()):
            folder = member_folder(kind, member.manifest.version)
            _copy(source, target, folder, member.manifest.files)
            _put_manifest(source, target, f"{folder}/{MANIFEST}", partial(read_member_manifest, target, folder))
        folder = release_folder(manifest.release)
        _copy(source, target, folder, manifest.files)
        _put_manifest(source, target, f"{folder}/{RELEASE}", partial(read_release_manifest, target, manifest.release))
    return read_release(target, manifest.release).manifest


def _copy(source: Store, target: Store, folder: str, files: Mapping[str, FileRecord]) -> None:
    for file in sorted(files):
        path = f"{folder}/{file}"
        target.put_new(path, check_file(files, file, source.get(path), f"run's {folder}"))


def _put_manifest(source: Store, target: Store, path: str, read: Callable[[], object]) -> None:
    try:
        target.put_new(path, source.get(path))
    except ArtifactError:
        read()  # one that was made at another time is as good: where it lies is the hash of all but its time

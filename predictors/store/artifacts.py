"""Artifacts and releases, read and verified.

Layout::

    <store>/models/<kind>/<version>/   manifest.json  model.onnx  golden.npz
    <store>/releases/<release>/        release.json   golden.npz

A manifest is written last, so what has no manifest does not exist.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from predictors.core.artifact import (
    GOLDEN,
    MANIFEST,
    MODEL,
    RELEASE,
    MemberManifest,
    ReleaseManifest,
    check_file,
)
from predictors.core.errors import ArtifactError, NotFound
from predictors.store.objects import Store


@dataclass(frozen=True, slots=True)
class Member:
    """A member artifact as read and verified."""

    manifest: MemberManifest
    model: bytes
    golden: dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Release:
    """A release as read and verified, with its members."""

    manifest: ReleaseManifest
    golden: dict[str, NDArray[Any]]
    members: dict[str, Member]


def member_folder(kind: str, version: str) -> str:
    """Where an artifact lies below its store."""
    return f"models/{kind}/{version}"


def release_folder(release: str) -> str:
    """Where a release lies below its store."""
    return f"releases/{release}"


def read_member_manifest(store: Store, folder: str) -> MemberManifest:
    """Read and verify the manifest of the artifact in a folder of a store ("" for the root).

    Raises
    ------
    NotFound
        If there is no manifest, so no artifact.
    ArtifactError
        If it was altered, or is that of another artifact.
    """
    text = store.get(f"{folder}/{MANIFEST}" if folder else MANIFEST)
    name = f"artifact {folder or store.uri}"
    manifest = MemberManifest.from_json(text, f"{name}: {MANIFEST}")
    _check_canonical(text, f"{name}: {MANIFEST}")
    if folder and folder != member_folder(manifest.kind, manifest.version):
        raise ArtifactError(f"{name}: {MANIFEST} is that of {manifest.kind} {manifest.version}")
    return manifest


def read_member(store: Store, folder: str) -> Member:
    """Read and verify the artifact in a folder of a store ("" for the root).

    Raises
    ------
    ArtifactError
        If a file is missing, altered or half-written, naming it.
    NotFound
        If there is no manifest, so no artifact.
    """
    manifest = read_member_manifest(store, folder)
    name = f"artifact {folder or store.uri}"
    files = {file: read_promised(store, folder, file, name) for file in (MODEL, GOLDEN)}
    for file, content in files.items():
        check_file(manifest.files, file, content, name)
    return Member(manifest, files[MODEL], read_arrays(files[GOLDEN], f"{name}: {GOLDEN}"))


def read_release_manifest(store: Store, release: str) -> ReleaseManifest:
    """Read and verify a release's manifest alone.

    Raises
    ------
    NotFound
        If the store has no such release.
    ArtifactError
        If it was altered.
    """
    text = store.get(f"{release_folder(release)}/{RELEASE}")
    name = f"release {release}: {RELEASE}"
    manifest = ReleaseManifest.from_json(text, name)
    _check_canonical(text, name)
    if manifest.release != release:
        raise ArtifactError(f"{name} is that of release {manifest.release}")
    return manifest


def read_release(store: Store, release: str | None = None) -> Release:
    """Read and verify a release with all its members; the newest if none is named.

    Raises
    ------
    NotFound
        If the store has no (such) release.
    ArtifactError
        If anything in it is missing, altered or does not belong to it.
    """
    manifest, golden = read_golden(store, release or newest_release(store))
    name = f"release {manifest.release}"
    members = {}
    for kind, version in sorted(manifest.members.items()):
        try:
            members[kind] = read_member(store, member_folder(kind, version))
        except NotFound as missing:
            raise ArtifactError(f"{name}: its member {kind} {version} is not in the store") from missing
    return Release(manifest, golden, members)


def read_golden(store: Store, release: str) -> tuple[ReleaseManifest, dict[str, NDArray[Any]]]:
    """Read and verify a release's manifest and its golden windows, without its members.

    Raises
    ------
    NotFound
        If the store has no such release.
    ArtifactError
        If one of the two is missing or was altered.
    """
    manifest = read_release_manifest(store, release)
    name = f"release {release}"
    golden = read_promised(store, release_folder(release), GOLDEN, name)
    check_file(manifest.files, GOLDEN, golden, name)
    return manifest, read_arrays(golden, f"{name}: {GOLDEN}")


def newest_release(store: Store) -> str:
    """Identifier of the release made last.

    Raises
    ------
    NotFound
        If the store holds no release.
    """
    found = []
    for name in store.names("releases"):
        try:
            found.append((read_release_manifest(store, name).created, name))
        except NotFound:
            continue  # no manifest: a publisher is at work, or died; it does not exist
    if not found:
        raise NotFound(f"store '{store.uri}' holds no release; run 'wavecast train' and 'wavecast publish' first")
    return max(found)[1]


def read_promised(store: Store, folder: str, file: str, name: str) -> bytes:
    """Content of a file that the manifest of ``name`` lists.

    Raises
    ------
    ArtifactError
        If it is missing.
    """
    try:
        return store.get(f"{folder}/{file}" if folder else file)
    except NotFound as missing:
        raise ArtifactError(f"{name}: {file} is missing") from missing


def read_arrays(content: bytes, name: str = GOLDEN) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file.

    Raises
    ------
    ArtifactError
        Naming ``name``, if it is none.
    """
    try:
        with NpzFile(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as wrong:
        raise ArtifactError(f"{name}: not a readable .npz file") from wrong


def _check_canonical(text: bytes, name: str) -> None:
    """Content hashes are of what a text means; this sees a byte that changes the text alone."""
    if json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode() != text:
        raise ArtifactError(f"{name}: not canonical JSON; it was altered")

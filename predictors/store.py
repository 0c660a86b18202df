"""Artifacts and releases in object storage: ``file://`` by default, ``s3://`` by the same code.

Layout::

    <store>/models/<kind>/<version>/   manifest.json  model.onnx  golden.npz
    <store>/releases/<release>/        release.json   golden.npz

Objects are written once. A manifest is written last, so what has no manifest does not exist.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import numpy as np
import obstore
from numpy.typing import NDArray
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from predictors.core.artifact import (
    GOLDEN,
    MANIFEST,
    MODEL,
    RELEASE,
    MemberManifest,
    ReleaseManifest,
    check_file,
)
from predictors.core.errors import ArtifactError, InvalidInput, NotFound, StoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_CLIENT: ClientConfig = {"timeout": "30s", "connect_timeout": "5s", "allow_http": True}
_RETRIES: RetryConfig = {"max_retries": 5}


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


class Store:
    """Write-once objects under one URI."""

    def __init__(self, uri: str) -> None:
        """Open a store.

        Parameters
        ----------
        uri
            A path, ``file:///path`` or ``s3://bucket/prefix``; S3 credentials, region and
            endpoint come from the usual ``AWS_*`` variables.

        Raises
        ------
        InvalidInput
            For another scheme.
        StoreError
            If it cannot be opened.
        """
        parsed = urlparse(uri)
        self.uri = uri
        self._prefix = ""
        try:
            if parsed.scheme == "s3":
                self._prefix = parsed.path.strip("/")
                self._objects: Any = S3Store(parsed.netloc, client_options=_CLIENT, retry_config=_RETRIES)
            elif parsed.scheme in ("", "file"):
                self._root = Path(unquote(parsed.path) if parsed.scheme else uri).expanduser().resolve()
                self._objects = None
            else:
                raise InvalidInput(f"store '{uri}': scheme '{parsed.scheme}' is unknown; use a path, file:// or s3://")
        except BaseError as wrong:
            raise StoreError(f"store '{uri}' cannot be opened: {_reason(wrong)}") from wrong

    def get(self, path: str) -> bytes:
        """Content of an object.

        Raises
        ------
        NotFound
            If there is no such object.
        StoreError
            If the store cannot be read.
        """
        try:
            return bytes(obstore.get(self._open(), self._key(path)).bytes())
        except FileNotFoundError as missing:
            raise NotFound(f"store '{self.uri}' has no {path}") from missing
        except (BaseError, OSError) as wrong:
            raise StoreError(f"store '{self.uri}' cannot be read at {path}: {_reason(wrong)}") from wrong

    def put_new(self, path: str, content: bytes) -> None:
        """Write an object that is not there yet; writing the same content again changes nothing.

        Raises
        ------
        ArtifactError
            If the object is there with other content.
        StoreError
            If the store cannot be written.
        """
        try:
            obstore.put(self._open(create=True), self._key(path), content, mode="create")
        except AlreadyExistsError as there:
            if self.get(path) != content:
                raise ArtifactError(
                    f"store '{self.uri}' already holds another {path}; nothing is overwritten"
                ) from there
        except (BaseError, OSError) as wrong:
            raise StoreError(f"store '{self.uri}' cannot be written at {path}: {_reason(wrong)}") from wrong

    def names(self, folder: str) -> list[str]:
        """Names directly below a folder, sorted; empty if there is no such folder."""
        try:
            listed = obstore.list_with_delimiter(self._open(), self._key(folder) + "/")
        except FileNotFoundError:
            return []
        except (BaseError, OSError) as wrong:
            raise StoreError(f"store '{self.uri}' cannot be listed: {_reason(wrong)}") from wrong
        return sorted(str(prefix).rstrip("/").rsplit("/", 1)[-1] for prefix in listed["common_prefixes"])

    def _open(self, create: bool = False) -> Any:
        if self._objects is None:
            if not create and not self._root.is_dir():
                raise NotFound(f"store '{self.uri}' does not exist; publish a release to it first")
            self._objects = LocalStore(self._root, mkdir=True)
        return self._objects

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path


def member_folder(kind: str, version: str) -> str:
    """Where an artifact lies below its store."""
    return f"models/{kind}/{version}"


def release_folder(release: str) -> str:
    """Where a release lies below its store."""
    return f"releases/{release}"


def read_member(store: Store, folder: str) -> Member:
    """Read and verify the artifact in a folder of a store ("" for the root).

    Raises
    ------
    ArtifactError
        If a file is missing, altered or half-written, naming it.
    NotFound
        If there is no manifest, so no artifact.
    """
    at = f"{folder}/" if folder else ""
    name = f"artifact {folder or store.uri}"
    manifest = MemberManifest.from_json(store.get(at + MANIFEST), f"{name}: {MANIFEST}")
    files = {file: _promised(store, at + file, name) for file in (MODEL, GOLDEN)}
    for file, content in files.items():
        check_file(manifest.files, file, content, name)
    return Member(manifest, files[MODEL], read_arrays(files[GOLDEN]))


def read_release_manifest(store: Store, release: str) -> ReleaseManifest:
    """Read and verify a release's manifest alone.

    Raises
    ------
    NotFound
        If the store has no such release.
    ArtifactError
        If it was altered.
    """
    folder = release_folder(release)
    manifest = ReleaseManifest.from_json(store.get(f"{folder}/{RELEASE}"), f"release {release}: {RELEASE}")
    if manifest.release != release:
        raise ArtifactError(f"release {release}: {RELEASE} is that of release {manifest.release}")
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
    manifest = read_release_manifest(store, release or newest_release(store))
    name = f"release {manifest.release}"
    golden = _promised(store, f"{release_folder(manifest.release)}/{GOLDEN}", name)
    check_file(manifest.files, GOLDEN, golden, name)
    members = {}
    for kind, version in sorted(manifest.members.items()):
        try:
            member = read_member(store, member_folder(kind, version))
        except NotFound as missing:
            raise ArtifactError(f"{name}: its member {kind} {version} is not in the store") from missing
        if (member.manifest.kind, member.manifest.version) != (kind, version):
            raise ArtifactError(
                f"{name}: the artifact of {kind} {version} is {member.manifest.kind} {member.manifest.version}"
            )
        members[kind] = member
    return Release(manifest, read_arrays(golden), members)


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


def read_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _promised(store: Store, path: str, name: str) -> bytes:
    try:
        return store.get(path)
    except NotFound as missing:
        raise ArtifactError(f"{name}: {path.rsplit('/', 1)[-1]} is missing") from missing


def _reason(error: Exception) -> str:
    """The first line of a storage library's message, without what it appends for debugging."""
    return str(error).strip().splitlines()[0].split("Debug source")[0].strip() or type(error).__name__

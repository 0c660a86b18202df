"""Releases that look whole and are not: copies of a good one, spoiled after they were sealed."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from chart import Release
from numpy.typing import NDArray
from servers import ObjectStore

from predictors.core.artifact import GOLDEN, MANIFEST, MODEL, RELEASE, FileRecord, MemberManifest
from predictors.store import Store, member_folder, release_folder
from predictors.store.artifacts import read_arrays, read_member_manifest, read_release_manifest

_OTHER_SEED = 1_000_000  # another version, so that nothing that runs already is spoiled


@dataclass(frozen=True, slots=True)
class Draft:
    """A member before it is sealed and put into the store."""

    manifest: MemberManifest
    files: Mapping[str, bytes]


Spoil = Callable[[Draft], Draft]


def corrupted(draft: Draft) -> Draft:
    """One bit of the model differs from what the manifest says."""
    model = bytearray(draft.files[MODEL])
    model[len(model) // 2] ^= 1
    return replace(draft, files={**draft.files, MODEL: bytes(model)})


def without_model(draft: Draft) -> Draft:
    """One object was never uploaded."""
    return replace(draft, files={name: content for name, content in draft.files.items() if name != MODEL})


def of_other_features(draft: Draft) -> Draft:
    """It was trained on other features than the release computes."""
    return replace(draft, manifest=replace(draft.manifest, spec_hash="f" * 64))


def of_other_answers(draft: Draft) -> Draft:
    """It promises other numbers than it gives."""
    arrays = read_arrays(draft.files[GOLDEN])
    golden = _npz(arrays | {"log_variance": arrays["log_variance"] + 0.01})
    promised = replace(draft.manifest, files=draft.manifest.files | {GOLDEN: FileRecord.of(golden)})
    return Draft(promised, {**draft.files, GOLDEN: golden})


def spoil_members(store: ObjectStore, good: Release, how: Mapping[str, Spoil]) -> Release:
    """Publish a copy of a release with some members spoiled; the others are its own."""
    objects, members = Store(store.uri), dict(good.members)
    for kind, spoil in how.items():
        manifest = read_member_manifest(objects, member_folder(kind, members[kind]))
        files = {name: objects.get(f"{member_folder(kind, members[kind])}/{name}") for name in manifest.files}
        draft = spoil(Draft(replace(manifest, seed=_OTHER_SEED, version=""), files))
        sealed = replace(draft.manifest, version=draft.manifest.content_version())
        for name, content in (*draft.files.items(), (MANIFEST, sealed.to_json())):
            objects.put_new(f"{member_folder(kind, sealed.version)}/{name}", content)
        members[kind] = sealed.version
    return _publish(objects, good, members, objects.get(f"{release_folder(good.name)}/{GOLDEN}"))


def spoil_golden(store: ObjectStore, good: Release) -> Release:
    """Publish a copy of a release that has its members and promises other forecasts than they give."""
    objects = Store(store.uri)
    arrays = read_arrays(objects.get(f"{release_folder(good.name)}/{GOLDEN}"))
    return _publish(objects, good, good.members, _npz(arrays | {"variance": arrays["variance"] * 1.01}))


def _publish(objects: Store, good: Release, members: Mapping[str, str], golden: bytes) -> Release:
    manifest = read_release_manifest(objects, good.name)
    manifest = replace(manifest, members=members, files={GOLDEN: FileRecord.of(golden)}, release="")
    sealed = replace(manifest, release=manifest.content_version())
    for name, content in ((GOLDEN, golden), (RELEASE, sealed.to_json())):
        objects.put_new(f"{release_folder(sealed.release)}/{name}", content)
    return Release(sealed.release, dict(members))


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its keywords are its options too
    return buffer.getvalue()

"""Checks of everything in a store against its manifests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from predictors.core.artifact import GOLDEN, MANIFEST, RELEASE, MemberManifest, ReleaseManifest, check_file
from predictors.core.errors import ArtifactError, NotFound
from predictors.store.artifacts import member_folder, read_arrays, read_promised, release_folder
from predictors.store.inventory import Inventory
from predictors.store.objects import Store


@dataclass(frozen=True, slots=True)
class Checked:
    """An artifact or release, how much of it was read, and one sentence for each defect."""

    folder: str
    files: int
    size: int
    defects: tuple[str, ...]


def folders_to_verify(store: Store, found: Inventory, release: str | None) -> list[str]:
    """Folders of everything that has a manifest, or of one release with its members.

    Raises
    ------
    NotFound
        If there is no such release.
    """
    if release is None:
        return sorted({*found.artifacts, *found.releases, *found.refused})
    folder = release_folder(release)
    if folder in found.refused:
        return [folder]
    if folder not in found.releases:
        raise NotFound(f"store '{store.uri}' has no release {release}; 'wavecast store ls' lists them")
    members = (member_folder(kind, version) for kind, version in sorted(found.releases[folder].members.items()))
    return [folder, *(member for member in members if member in found.artifacts or member in found.refused)]


def verify(store: Store, found: Inventory, folders: list[str]) -> Iterator[Checked]:
    """Check folders one by one: every checksum and size, readable golden arrays, members in the store.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    for folder in folders:
        if folder in found.refused:
            yield Checked(folder, 1, found.size(folder), (found.refused[folder],))
        elif folder in found.releases:
            release = found.releases[folder]
            name = f"release {release.release}"
            lost = tuple(
                f"{name}: its member {kind} {version} is not in the store"
                for kind, version in sorted(release.members.items())
                if member_folder(kind, version) not in {**found.artifacts, **found.refused}
            )
            yield _check(store, found, folder, RELEASE, release, name, lost)
        else:
            yield _check(store, found, folder, MANIFEST, found.artifacts[folder], f"artifact {folder}", ())


def _check(
    store: Store,
    found: Inventory,
    folder: str,
    manifest_file: str,
    manifest: MemberManifest | ReleaseManifest,
    name: str,
    known: tuple[str, ...],
) -> Checked:
    defects = list(known)
    for file in sorted(manifest.files):
        try:
            content = check_file(manifest.files, file, read_promised(store, folder, file, name), name)
            if file == GOLDEN:
                read_arrays(content, f"{name}: {GOLDEN}")
        except ArtifactError as wrong:
            defects.append(str(wrong))
    listed = {f"{folder}/{file}" for file in (*manifest.files, manifest_file)}
    defects += [
        f"{name}: {one.path.removeprefix(f'{folder}/')} is not in its manifest"
        for one in found.objects[folder]
        if one.path not in listed and not one.half_written
    ]
    return Checked(folder, len(manifest.files) + 1, found.size(folder), tuple(defects))

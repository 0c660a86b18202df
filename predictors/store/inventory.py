"""What lies in a store: folders with their objects and manifests."""

from __future__ import annotations

from dataclasses import dataclass

from predictors.core.artifact import MANIFEST, RELEASE, MemberManifest, ReleaseManifest
from predictors.core.errors import ArtifactError, NotFound
from predictors.store.artifacts import member_folder, read_member_manifest, read_release_manifest, release_folder
from predictors.store.objects import Store, StoredObject


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything of a store, by folder.

    Attributes
    ----------
    objects
        Objects of each ``models/<kind>/<version>`` and ``releases/<release>``.
    artifacts, releases
        Manifests by folder; a folder without one is an unfinished publish.
    refused
        Folders whose manifest is not sound, with the reason.
    """

    objects: dict[str, list[StoredObject]]
    artifacts: dict[str, MemberManifest]
    releases: dict[str, ReleaseManifest]
    refused: dict[str, str]

    def size(self, folder: str) -> int:
        """Bytes of a folder."""
        return sum(one.size for one in self.objects.get(folder, ()))

    def referenced(self) -> set[str]:
        """Folders of every release, of their members, and of those members' parents."""
        return {folder for release in self.releases.values() for folder in self.needed(release)}

    def needed(self, release: ReleaseManifest) -> set[str]:
        """Folders of a release, of its members, and of their parents as far as they are in the store."""
        found = {release_folder(release.release)}
        waiting = [member_folder(kind, version) for kind, version in release.members.items()]
        while waiting:
            folder = waiting.pop()
            if folder not in found:
                found.add(folder)
                member = self.artifacts.get(folder)
                if member is not None and member.parent is not None:
                    waiting.append(member_folder(member.kind, member.parent))
        return found


def ancestry(store: Store, kind: str, version: str) -> list[MemberManifest]:
    """Manifests of an artifact, of what it was derived from, and so on, as far as they are in the store."""
    found: list[MemberManifest] = []
    wanted: str | None = version
    while wanted is not None:
        try:
            found.append(read_member_manifest(store, member_folder(kind, wanted)))
        except NotFound:
            break
        wanted = found[-1].parent
    return found


def take_inventory(store: Store) -> Inventory:
    """List a store and read its manifests.

    Raises
    ------
    NotFound
        If there is no store.
    StoreError
        If it cannot be read.
    """
    found = Inventory({}, {}, {}, {})
    for top, depth in (("models", 3), ("releases", 2)):
        for one in store.objects(top):
            parts = one.path.split("/")
            if len(parts) == depth + 1:
                found.objects.setdefault("/".join(parts[:depth]), []).append(one)
    for folder, objects in found.objects.items():
        paths = {one.path for one in objects}
        try:
            if f"{folder}/{MANIFEST}" in paths and folder.startswith("models/"):
                found.artifacts[folder] = read_member_manifest(store, folder)
            elif f"{folder}/{RELEASE}" in paths and folder.startswith("releases/"):
                found.releases[folder] = read_release_manifest(store, folder.removeprefix("releases/"))
        except NotFound:
            continue  # collected meanwhile
        except ArtifactError as wrong:
            found.refused[folder] = str(wrong)
    return found

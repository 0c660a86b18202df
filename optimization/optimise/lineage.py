"""Where a release comes from: its members, what they were made from, their studies, the bars."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from predictors.core.artifact import MODEL, MemberManifest
from predictors.store import Store, member_folder, newest_release, read_member_manifest, read_release_manifest


def lineage(released: Store, trained: Store) -> dict[str, Any]:
    """Plain JSON of the manifests.

    Parameters
    ----------
    released
        Run folder of the release.
    trained
        Run folder of its members' parents.
    """
    release = read_release_manifest(released, newest_release(released))
    members = []
    for kind, version in sorted(release.members.items()):
        member = read_member_manifest(released, member_folder(kind, version))
        parent = None if member.parent is None else read_member_manifest(trained, member_folder(kind, member.parent))
        members.append(_entry(member) | {"parent": None if parent is None else _entry(parent)})
    return {
        "release": release.release,
        "spec": release.spec,
        "data_fingerprint": release.data_fingerprint,
        "weights": release.calibration(release.members).weights,
        "members": members,
    }


def _entry(member: MemberManifest) -> dict[str, Any]:
    return {
        "kind": member.kind,
        "version": member.version,
        "bytes": member.files[MODEL].size,
        "seed": member.seed,
        "gates": len(member.gates),
        "study": None if member.study is None else asdict(member.study),
    }

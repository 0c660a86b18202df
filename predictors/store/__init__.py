"""Artifacts and releases in object storage: ``file://`` by default, ``s3://`` by the same code."""

from predictors.store.artifacts import (
    Member,
    Release,
    member_folder,
    newest_release,
    read_arrays,
    read_golden,
    read_member,
    read_member_manifest,
    read_release,
    read_release_manifest,
    release_folder,
)
from predictors.store.objects import Store, StoredObject

__all__ = [
    "Member",
    "Release",
    "Store",
    "StoredObject",
    "member_folder",
    "newest_release",
    "read_arrays",
    "read_golden",
    "read_member",
    "read_member_manifest",
    "read_release",
    "read_release_manifest",
    "release_folder",
]

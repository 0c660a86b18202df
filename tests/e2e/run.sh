#!/bin/sh
# End-to-end tests on the cluster of the current kubeconfig, or, where E2E_CLUSTER is the path of a tool with the
# commands up, env, load-image and down, on one that it brings up: run.sh REGISTRY TAG COMPONENT...
# With E2E_KEEP set the cluster and all that the tests made stay, and are found again. E2E_ARGS goes to pytest. What was
# measured is in the output of the tests that passed.
set -eu
cd "$(dirname "$0")/../.."
registry=$1 tag=$2
shift 2

if [ -n "${E2E_CLUSTER:-}" ]; then
    # shellcheck disable=SC2154 - code is set when the trap runs
    [ -n "${E2E_KEEP:-}" ] || trap 'code=$?; "$E2E_CLUSTER" down || true; exit $code' EXIT
    trap 'exit 143' TERM INT
    # A cold start may lose a race with itself; a second one goes on from there.
    "$E2E_CLUSTER" up || "$E2E_CLUSTER" up
    eval "$("$E2E_CLUSTER" env)"
    for component in "$@"; do
        echo "loading wavecast-$component:$tag"
        "$E2E_CLUSTER" load-image "$registry/wavecast-$component:$tag"
    done
fi
# shellcheck disable=SC2086 - several arguments are meant
E2E_REGISTRY=$registry E2E_TAG=$tag .venv/bin/python -m pytest tests/e2e -p no:xdist -v -rP --durations=10 ${E2E_ARGS:-}

#!/bin/sh
# Build images with buildah, docker or podman, whichever is there: images.sh REGISTRY TAG COMPONENT...
#
# From the environment: IMAGE_BUILDER (one of the three; the first found if unset), BASE_IMAGE (a Debian with Python
# 3.11), PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS (folders and addresses of wheels), PIP_CERT (a file).
set -eu
cd "$(dirname "$0")/.."
registry=$1 tag=$2
shift 2

builder=${IMAGE_BUILDER:-}
for known in buildah docker podman; do
    [ -n "$builder" ] || ! command -v "$known" > /dev/null || builder=$known
done
case $builder in
buildah)
    # This isolation needs no namespaces, so it works inside containers too.
    export STORAGE_DRIVER="${STORAGE_DRIVER:-overlay}" BUILDAH_ISOLATION="${BUILDAH_ISOLATION:-chroot}"
    build() { buildah bud --layers --format docker --pull=false --network host "$@"; }
    ;;
docker) build() { DOCKER_BUILDKIT=1 docker build "$@"; } ;;
podman) build() { podman build --layers --format docker "$@"; } ;;
*)
    echo "error: no program to build images with; install buildah (apt-get install buildah), docker or podman" >&2
    exit 2
    ;;
esac

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
links=/wheels
for place in ${PIP_FIND_LINKS:-}; do
    if [ -d "$place" ]; then
        find "$place" -maxdepth 1 -name '*.whl' -exec cp {} "$wheels" \;
    else
        links="$links $place"
    fi
done

revision=$(git describe --always --dirty --abbrev=40 2> /dev/null || echo unknown)
for component in "$@"; do
    echo "building $registry/wavecast-$component:$tag with $builder"
    build --file predictors/Dockerfile --target "$component" --tag "$registry/wavecast-$component:$tag" \
        ${BASE_IMAGE:+--build-arg "BASE=$BASE_IMAGE"} \
        ${PIP_INDEX_URL:+--build-arg "PIP_INDEX_URL=$PIP_INDEX_URL"} \
        ${PIP_EXTRA_INDEX_URL:+--build-arg "PIP_EXTRA_INDEX_URL=$PIP_EXTRA_INDEX_URL"} \
        --build-arg "PIP_FIND_LINKS=$links" --build-context "wheels=$wheels" \
        ${PIP_CERT:+--secret "id=ca,src=$PIP_CERT"} \
        --label "org.opencontainers.image.title=wavecast-$component" \
        --label "org.opencontainers.image.version=$tag" --label "org.opencontainers.image.revision=$revision" .
done

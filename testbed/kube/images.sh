#!/usr/bin/env bash
# Build pman's images with Docker and bring them into the cluster that up.sh has started, without an image registry.
# Prints NAME=TAG for each; a tag is the image's own id, so that no node ever runs an older build. Settings (environment):
#   KUBE_HOME=/var/lib/pman-kube   as for up.sh
#   PMAN_BASE_IMAGE=python:3.11-slim-bookworm   made by base_image.sh if Docker has not got it and cannot pull it
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(realpath "$HERE/../..")
: "${KUBE_HOME:=/var/lib/pman-kube}" "${PMAN_BASE_IMAGE:=python:3.11-slim-bookworm}"
NAMES=(pman-api pman-worker pman-flower pman-test-redis)

docker image inspect "$PMAN_BASE_IMAGE" >/dev/null 2>&1 || docker pull -q "$PMAN_BASE_IMAGE" >&2 ||
  "$HERE/../base_image.sh" "$PMAN_BASE_IMAGE" >&2

for target in api worker flower; do
  docker build -q --target $target --build-arg BASE="$PMAN_BASE_IMAGE" --build-arg EXTRAS=kubernetes \
    -t pman-$target:kube "$ROOT" >/dev/null
done
docker build -q -t pman-test-redis:kube - < "$HERE/../redis.Dockerfile" >/dev/null

bring() { # bring ARCHIVE: into every node
  if [ -e "$KUBE_HOME/kind.kubeconfig" ]; then
    kind load image-archive -q --name pman "$1" >&2
  elif [ -e "$KUBE_HOME/k3s.pid" ]; then
    k3s ctr -n k8s.io images import "$1" >&2
  else
    kube-ctr images import "$1" >&2
  fi
}
has() { # has NAME:TAG: asked where it is cheap to ask
  ! command -v kube-ctr >/dev/null || kube-ctr images ls -q | grep -qx "docker.io/library/$1"
}

missing=()
for name in "${NAMES[@]}"; do
  tag=$(docker image inspect -f '{{.Id}}' $name:kube | cut -c8-19)
  docker tag $name:kube "$name:$tag"
  has "$name:$tag" || missing+=("$name:$tag")
  echo "$name=$tag"
done
if [ ${#missing[@]} -gt 0 ]; then
  archive=$(mktemp --suffix=.tar)
  trap 'rm -f "$archive"' EXIT
  docker save -o "$archive" "${missing[@]}"
  bring "$archive"
fi

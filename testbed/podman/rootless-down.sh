#!/usr/bin/env bash
# End the Podman that podman/rootless-up.sh started, and its containers with it. The user stays. Settings (environment):
#   PODMAN_USER=pman-rootless, PODMAN_HOME=/var/lib/pman-rootless, PODMAN_RUN=/run/pman-rootless   as for rootless-up.sh
#   PODMAN_WIPE=0                                                                                  1: also delete its state
set -uo pipefail
: "${PODMAN_USER:=pman-rootless}" "${PODMAN_HOME:=/var/lib/pman-rootless}" "${PODMAN_RUN:=/run/pman-rootless}"
export PODMAN_USER PODMAN_HOME PODMAN_RUN
exec "$(dirname "$0")/down.sh"

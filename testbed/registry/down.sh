#!/usr/bin/env bash
# End the registries that registry/up.sh started. Settings (environment):
#   REGISTRY_HOME=/var/lib/pman-registry, REGISTRY_PORT=5000   as for up.sh
#   REGISTRY_WIPE=0                                            1: also delete their images
set -euo pipefail
# shellcheck source=testbed/common.sh
. "$(dirname "$0")/../common.sh"
: "${REGISTRY_HOME:=/var/lib/pman-registry}" "${REGISTRY_PORT:=5000}" "${REGISTRY_WIPE:=0}"

stop TERM "$REGISTRY_HOME/open.pid" docker-registry
stop TERM "$REGISTRY_HOME/private.pid" docker-registry
rm -f /etc/containers/registries.conf.d/"pman-testbed-$REGISTRY_PORT.conf"
[ "$REGISTRY_WIPE" = 0 ] || rm -rf "$REGISTRY_HOME"
say "ended"

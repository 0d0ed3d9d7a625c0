#!/usr/bin/env bash
# Bring up the Podman of a user who is not root, with its service, beside root's or without it; see up.sh, which does
# the work. Root starts it, and makes the user. Where the control groups are of version 1, Podman ignores every limit of
# a rootless container. Settings (environment):
#   PODMAN_USER=pman-rootless              made if there is none of that name, with 65536 subordinate IDs
#   PODMAN_HOME=/var/lib/pman-rootless     configuration, storage, log, and the socket podman.sock
#   PODMAN_RUN=/run/pman-rootless          what is lost at a reboot
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testbed/common.sh
. "$HERE/../common.sh"
: "${PODMAN_USER:=pman-rootless}" "${PODMAN_HOME:=/var/lib/pman-rootless}" "${PODMAN_RUN:=/run/pman-rootless}"
export PODMAN_USER PODMAN_HOME PODMAN_RUN

packages uidmap slirp4netns
# Subordinate IDs come with the user; an older one may have none.
id "$PODMAN_USER" >/dev/null 2>&1 || useradd --home-dir "$PODMAN_HOME" --no-create-home --shell /bin/sh "$PODMAN_USER"
for file in /etc/subuid /etc/subgid; do
  grep -q "^$PODMAN_USER:" $file || die "$PODMAN_USER is not in $file: see usermod --add-subuids, --add-subgids"
done
chmod 666 /dev/net/tun # as udev has it; slirp4netns, the network of such containers, opens it
"$HERE/up.sh"

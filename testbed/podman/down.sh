#!/usr/bin/env bash
# End the Podman that podman/up.sh started, and its containers with it. Settings (environment):
#   PODMAN_HOME=/var/lib/pman-podman, PODMAN_RUN=/run/pman-podman   as for up.sh
#   PODMAN_WIPE=0                                                   1: also delete all its state
set -uo pipefail # no -e: a step that fails must not keep the others from being done
# shellcheck source=testbed/common.sh
. "$(dirname "$0")/../common.sh"
: "${PODMAN_HOME:=/var/lib/pman-podman}" "${PODMAN_RUN:=/run/pman-podman}" "${PODMAN_WIPE:=0}"
PODMAN=$PODMAN_HOME/bin/podman
[ -x "$PODMAN" ] || { say "nothing in $PODMAN_HOME"; exit 0; }

stop TERM "$PODMAN_RUN/service.pid" podman
rm -f "$PODMAN_HOME/podman.sock"
timeout 120 "$PODMAN" stop -a -t 1 >/dev/null 2>&1
if [ "$PODMAN_WIPE" = 1 ]; then
  timeout 120 "$PODMAN" rm -af -t 0 >/dev/null 2>&1
  timeout 60 "$PODMAN" network prune -f >/dev/null 2>&1
fi
for process in /proc/[0-9]*; do # conmon of containers that did not end
  case $(tr '\0' ' ' 2>/dev/null < "$process/cmdline") in
    */conmon*" $PODMAN_HOME/"*) kill -9 "${process#/proc/}" ;;
    "catatonit -P ") # holds the namespaces of a rootless user
      [ "$(stat -c %U "$process")" != "${PODMAN_USER:-root}" ] || kill -9 "${process#/proc/}" ;;
  esac
done
grep -E " ($PODMAN_HOME|$PODMAN_RUN)/" /proc/mounts | cut -d' ' -f2 | sort -r | xargs -r -n1 umount -l

[ "$PODMAN_WIPE" = 0 ] || rm -rf "$PODMAN_HOME" "$PODMAN_RUN"
say "ended"

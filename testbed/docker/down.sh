#!/usr/bin/env bash
# End the engines that docker/up.sh started, and their containers with them. An engine that was there before is left
# alone. What Debian's service leaves behind stays too: docker0 and Docker's chains of iptables. Settings:
#   DOCKER_HOME=/var/lib/pman-docker   as for up.sh
#   DOCKER_WIPE=0                      1: also delete all state, images and swarm included
set -uo pipefail # no -e: a step that fails must not keep the others from being done
# shellcheck source=testbed/common.sh
. "$(dirname "$0")/../common.sh"
: "${DOCKER_HOME:=/var/lib/pman-docker}" "${DOCKER_WIPE:=0}"
RUN=$DOCKER_HOME/run
[ -d "$RUN" ] || { say "nothing in $DOCKER_HOME"; exit 0; }
shopt -s nullglob

signal=TERM
[ "$DOCKER_WIPE" = 0 ] || signal=KILL # state that will be deleted needs no orderly end
sock=$(sed -n 's|^-H unix://\([^ ]*\).*|\1|p' "$RUN/main-dockerd.args" 2>/dev/null)
for file in "$RUN"/*-dockerd.pid; do stop $signal "$file" dockerd & done
wait
for address in "$DOCKER_HOME"/containerd.sock "$DOCKER_HOME"/w*/containerd.sock; do
  c() { timeout 10 ctr -a "$address" -n moby "$@" 2>/dev/null; }
  for id in $(c tasks ls -q); do c tasks rm -f "$id" >/dev/null; done
  for id in $(c containers ls -q); do c containers rm "$id" >/dev/null; done
done
for file in "$RUN"/*-containerd.pid; do stop TERM "$file" containerd & done
wait

# shims that are left, and what is left in the cgroups of our containers
for process in /proc/[0-9]*; do
  case $(tr '\0' ' ' 2>/dev/null < "$process/cmdline") in
    *containerd-shim*" -address $DOCKER_HOME/"*) kill -9 "${process#/proc/}" ;;
  esac
done
cgroup=$(basename "$DOCKER_HOME")
find /sys/fs/cgroup -path "*/$cgroup/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | xargs -r kill -9
grep -F " $DOCKER_HOME/" /proc/mounts | cut -d' ' -f2 | sort -r | xargs -r -n1 umount -l
find /sys/fs/cgroup -depth -type d \( -name "$cgroup" -o -path "*/$cgroup/*" \) -exec rmdir {} + 2>/dev/null
[ -z "$sock" ] || rm -f "$sock"

# the network of the workers
for folder in "$DOCKER_HOME"/w[0-9]*; do
  w=$(basename "$folder")
  ip netns del "pman-$w" 2>/dev/null
  ip link del "pman$w" 2>/dev/null
done
if [ -e "$DOCKER_HOME/w1" ]; then
  ip link del pmandocker0 2>/dev/null
  for table in nat filter; do
    iptables -t $table -S | grep -E -- '-[io] pmandocker0' | sed 's/^-A/-D/' | xargs -r -L1 iptables -t $table
  done
fi

[ "$DOCKER_WIPE" = 0 ] || rm -rf "$DOCKER_HOME"
say "ended"

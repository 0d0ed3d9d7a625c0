#!/usr/bin/env bash
# Bring up a real Podman with its service, whose API is Docker's, on this machine: root, no systemd, no registry.
# Configuration and storage are private, /etc/containers is left as it is. What already runs is left alone. It gets the
# image busybox:test, and a command $PODMAN_HOME/bin/podman for this storage (a plain `podman` sees another). Settings:
#   PODMAN_HOME=/var/lib/pman-podman   configuration, storage, log, and the socket podman.sock
#   PODMAN_RUN=/run/pman-podman        what is lost at a reboot
#   PODMAN_USER=root                   whose Podman it is; for another user see rootless-up.sh
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testbed/common.sh
. "$HERE/../common.sh"
: "${PODMAN_HOME:=/var/lib/pman-podman}" "${PODMAN_RUN:=/run/pman-podman}" "${PODMAN_USER:=root}"
RUN=$PODMAN_RUN SOCK=$PODMAN_HOME/podman.sock LOG=$PODMAN_HOME/service.log PODMAN=$PODMAN_HOME/bin/podman

packages podman runc netavark aardvark-dns catatonit iptables busybox-static python3
unset CONTAINER_HOST CONTAINER_CONNECTION # they would make the command a client of another service

# -- configuration

mkdir -p "$PODMAN_HOME"/{bin,storage,networks} "$RUN"
# Podman's own ulimits are above what root may set in a container; its API of version 4.3 takes soft and hard ones for
# each other ("error setting rlimit type 7"), so they are the same here.
cat > "$PODMAN_HOME/containers.conf" <<TOML
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
init_path = "/usr/bin/catatonit"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "$RUN/libpod"
[network]
network_backend = "netavark"
network_config_dir = "$PODMAN_HOME/networks"
TOML
cat > "$PODMAN_HOME/storage.conf" <<TOML
[storage]
driver = "overlay"
graphroot = "$PODMAN_HOME/storage"
runroot = "$RUN/storage"
TOML
as=""
if [ "$PODMAN_USER" != root ]; then
  chown "$PODMAN_USER:" "$PODMAN_HOME" "$PODMAN_HOME"/{storage,networks} "$RUN"
  as="cd $PODMAN_HOME; exec setpriv --reuid=$PODMAN_USER --regid=$(id -g "$PODMAN_USER") --init-groups --inh-caps=-all \
  env HOME=$PODMAN_HOME XDG_RUNTIME_DIR=$RUN USER=$PODMAN_USER"
fi
cat > "$PODMAN.new" <<SH
#!/bin/sh
export CONTAINERS_CONF=$PODMAN_HOME/containers.conf CONTAINERS_STORAGE_CONF=$PODMAN_HOME/storage.conf
${as:-exec} /usr/bin/podman "\$@"
SH
chmod 755 "$PODMAN.new"
mv "$PODMAN.new" "$PODMAN" # at once: somebody may be running it

# -- the image: the API looks for busybox:test under docker.io/library, the command under localhost too

if ! "$PODMAN" image exists docker.io/library/busybox:test; then
  "$HERE/../make_image.py" --busybox --tag localhost/busybox:test --out "$RUN/image.tar"
  "$PODMAN" load -q -i "$RUN/image.tar" >/dev/null
  rm "$RUN/image.tar"
  "$PODMAN" tag localhost/busybox:test docker.io/library/busybox:test
fi

# -- the service

alive() { lives "$RUN/service.pid" podman; }
answers() { "$PODMAN" --url "unix://$SOCK" info >/dev/null 2>&1; }
settings() { cat "$PODMAN_HOME/containers.conf" "$PODMAN_HOME/storage.conf"; }
if alive && [ "$(cat "$RUN/service.conf" 2>/dev/null)" != "$(settings)" ]; then
  say "settings changed, restarting the service"
  stop TERM "$RUN/service.pid" podman
fi
if ! answers; then
  stop TERM "$RUN/service.pid" podman
  say "starting the service"
  rm -f "$SOCK"
  # The working directory: conmon leaves its files "oom" there.
  (cd "$RUN" && exec setsid "$PODMAN" system service --time=0 "unix://$SOCK" >> "$LOG" 2>&1 < /dev/null) &
  echo $! > "$RUN/service.pid"
  settings > "$RUN/service.conf"
  for _ in $(seq 600); do ! answers || break; sleep 0.2; done
fi
answers || { tail -5 "$LOG" >&2; die "the service does not answer; see $LOG"; }
say "ready: export DOCKER_HOST=unix://$SOCK (its command: $PODMAN)"

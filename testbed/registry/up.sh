#!/usr/bin/env bash
# Bring up two image registries on this machine, Debian's docker-registry: one open to all, one that wants a password.
# What already runs is left alone. Docker takes HTTP from 127.0.0.1 as it is; Podman is told to. The images:
#   127.0.0.1:5000/pman/test:1      busybox:test
#   127.0.0.1:5000/pman/big:1       busybox:test and 4 layers of 8 MB that do not compress: its pull can be watched
#   127.0.0.1:5001/private/test:1   busybox:test, for the user pman
# They are removed from the engine that pushed them, so that it must pull them. Settings (environment):
#   REGISTRY_PASSWORD=pman-testbed           of the user pman
#   REGISTRY_HOME=/var/lib/pman-registry     all state: images, logs, pid files
#   REGISTRY_PORT=5000, REGISTRY_PRIVATE_PORT=5001
#   DOCKER_SOCK=/var/run/docker.sock         the engine that pushes, see docker/up.sh
set -euo pipefail
# shellcheck source=testbed/common.sh
. "$(dirname "$0")/../common.sh"
: "${REGISTRY_PASSWORD:=pman-testbed}" "${REGISTRY_HOME:=/var/lib/pman-registry}"
: "${REGISTRY_PORT:=5000}" "${REGISTRY_PRIVATE_PORT:=5001}" "${DOCKER_SOCK:=/var/run/docker.sock}"
OPEN=127.0.0.1:$REGISTRY_PORT PRIVATE=127.0.0.1:$REGISTRY_PRIVATE_PORT

packages docker-registry apache2-utils curl
umask 077
mkdir -p "$REGISTRY_HOME"

# -- the registries

users=$REGISTRY_HOME/htpasswd # read again by the registry when it changes
htpasswd -vi "$users" pman <<< "$REGISTRY_PASSWORD" 2>/dev/null || htpasswd -niB pman <<< "$REGISTRY_PASSWORD" > "$users"

ask() { curl -s --noproxy '*' -u "pman:$REGISTRY_PASSWORD" "http://$1/v2/$2"; } # ask ADDRESS PATH
registry() { # registry NAME ADDRESS [LINES OF ITS CONFIGURATION]
  local dir=$REGISTRY_HOME/$1
  [ "$(ask "$2" "")" != '{}' ] || return 0
  stop TERM "$dir.pid" docker-registry
  say "starting the registry on $2"
  cat > "$dir.yml" <<YAML
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $dir}}
http: {addr: $2}
${3:-}
YAML
  setsid docker-registry serve "$dir.yml" >> "$dir.log" 2>&1 < /dev/null &
  echo $! > "$dir.pid"
  for _ in $(seq 600); do
    [ "$(ask "$2" "")" != '{}' ] || return 0
    sleep 0.1
  done
  tail -5 "$dir.log" >&2
  die "no registry answers on $2; see $dir.log"
}
registry open "$OPEN"
registry private "$PRIVATE" "auth: {htpasswd: {realm: pman, path: $users}}"

# -- Podman

insecure=/etc/containers/registries.conf.d/pman-testbed-$REGISTRY_PORT.conf
if [ -d "${insecure%/*}" ] && [ ! -e "$insecure" ]; then
  (umask 022 && printf '[[registry]]\nlocation = "%s"\ninsecure = true\n' "$OPEN" "$PRIVATE" > "$insecure")
  # Its services keep what they have read until they are told.
  for process in /proc/[0-9]*; do
    case $(tr '\0' ' ' 2>/dev/null < "$process/cmdline") in
      *podman\ system\ service*) [ ! -O "$process" ] || kill -HUP "${process#/proc/}" || true ;; # ends a rootless one
    esac
  done
fi

# -- the images

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
docker() { /usr/bin/docker --config "$scratch" -H "unix://${DOCKER_SOCK#unix://}" "$@"; }
has() { ask "$1" "$2/tags/list" | grep -q '"1"'; } # has ADDRESS NAME
push() { # push ADDRESS/NAME
  say "pushing $1:1"
  docker push -q "$1:1" >/dev/null
  docker rmi "$1:1" >/dev/null
}
if ! has "$OPEN" pman/test; then
  docker tag busybox:test "$OPEN/pman/test:1"
  push "$OPEN/pman/test"
fi
if ! has "$PRIVATE" private/test; then
  docker login -u pman --password-stdin "$PRIVATE" <<< "$REGISTRY_PASSWORD" >/dev/null 2>&1
  docker tag busybox:test "$PRIVATE/private/test:1"
  push "$PRIVATE/private/test"
fi
if ! has "$OPEN" pman/big; then
  mkdir "$scratch/big"
  echo 'FROM busybox:test' > "$scratch/big/Dockerfile"
  for i in 1 2 3 4; do
    head -c 8M /dev/urandom > "$scratch/big/layer$i"
    echo "COPY layer$i /big/" >> "$scratch/big/Dockerfile"
  done
  DOCKER_BUILDKIT=0 docker build -q -t "$OPEN/pman/big:1" "$scratch/big" >/dev/null
  push "$OPEN/pman/big"
fi
say "ready: $OPEN is open, $PRIVATE wants the user pman and REGISTRY_PASSWORD"

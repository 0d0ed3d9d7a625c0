#!/usr/bin/env bash
# Bring up a real Docker engine, and if asked a real swarm of several nodes, on this machine: no systemd, no registry.
# The engine is Debian's with a state of its own, and is started only if none answers on the socket. What already runs
# with the same settings is left alone. Every engine gets the image busybox:test. Settings (environment):
#   DOCKER_HOME=/var/lib/pman-docker   all state: data, containerd, log/, run/ (pid files), tls/
#   DOCKER_SOCK=/var/run/docker.sock   where the engine listens
#   DOCKER_SWARM=0           1: the engine is a swarm manager, on 127.0.0.1
#   DOCKER_SWARM_NODES=0     N: N more engines w1..wN as workers, each with a network namespace and a host name of its
#                            own; the manager is then on 10.124.0.1. Their sockets: $DOCKER_HOME/wN/docker.sock
#   DOCKER_TLS=0             1: also listen on tcp 127.0.0.1:$DOCKER_TLS_PORT, with client certificates from tls/
#   DOCKER_TLS_PORT=2376
#   DOCKERD_OPTS=            more options for the engine, as --live-restore or --node-generic-resource gpu=g1
# A second engine beside another one must let its network be: with DOCKERD_OPTS=--bridge=none it runs in an empty network
# namespace (in that of the machine it would delete docker0), with --iptables=false it shares docker0 and may run nothing.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testbed/common.sh
. "$HERE/../common.sh"
: "${DOCKER_HOME:=/var/lib/pman-docker}" "${DOCKER_SOCK:=/var/run/docker.sock}" "${DOCKERD_OPTS:=}"
: "${DOCKER_SWARM:=0}" "${DOCKER_SWARM_NODES:=0}" "${DOCKER_TLS:=0}" "${DOCKER_TLS_PORT:=2376}"
DOCKER_SOCK=${DOCKER_SOCK#unix://}
RUN=$DOCKER_HOME/run LOG=$DOCKER_HOME/log TLS=$DOCKER_HOME/tls
BRIDGE=pmandocker0 NET=10.124.0 # the network of the workers

packages docker.io containerd runc iptables iproute2 busybox-static python3 openssl
# docker and dockerd read these. DOCKER_TLS is theirs too, with another meaning.
unset DOCKER_HOST DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_API_VERSION
export -n DOCKER_TLS
# A docker earlier in PATH may be a client without a daemon, and too new for this engine.
CLI=/usr/bin/docker DOCKERD=/usr/sbin/dockerd
on() { local sock=$1; shift; "$CLI" -H "unix://$sock" "$@"; } # on SOCKET ARGUMENTS...
answers() { on "$1" version -f '{{.Server.Version}}' >/dev/null 2>&1; }

# -- processes: NAME is main-dockerd, w1-containerd, ...

alive() { lives "$RUN/$1.pid" "${1##*-}"; }
up() { # up NAME QUESTION...: it runs and answers; dies if it runs and never does
  local name=$1 end=$((SECONDS + 180))
  shift
  while alive "$name"; do
    ! "$@" >/dev/null 2>&1 || return 0
    [ $SECONDS -lt $end ] || die "$name does not answer; see $LOG/$name.log"
    sleep 0.2
  done
  return 1
}
start() { # start NAME COMMAND...: in a session of its own
  local name=$1
  shift
  say "starting $name"
  setsid "$@" >> "$LOG/$name.log" 2>&1 < /dev/null &
  echo $! > "$RUN/$name.pid"
  # Until it has become its program, `alive` would not know it.
  for _ in $(seq 100); do ! alive "$name" || break; sleep 0.05; done
}
must() { # must NAME QUESTION...: what was started has come up
  up "$@" || { tail -5 "$LOG/$1.log" >&2; die "$1 has ended; see $LOG/$1.log"; }
}
engine() { # engine NAME FOLDER SOCKET "PREFIX OF THE COMMANDS" OPTIONS...: containerd and dockerd, and the image
  local name=$1 dir=$2 sock=$3 prefix args
  read -ra prefix <<< "$4"
  shift 4
  mkdir -p "$dir"/{root,exec,containerd,containerd-run}
  cat > "$dir/containerd.toml" <<TOML
version = 2
root = "$dir/containerd"
state = "$dir/containerd-run"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$dir/containerd.sock"
TOML
  local ask=(ctr -a "$dir/containerd.sock" version)
  if ! up "$name-containerd" "${ask[@]}"; then
    start "$name-containerd" ${prefix[@]+"${prefix[@]}"} containerd --config "$dir/containerd.toml"
    must "$name-containerd" "${ask[@]}"
  fi

  args="-H unix://$sock $*"
  if alive "$name-dockerd" && [ "$args" != "$(cat "$RUN/$name-dockerd.args" 2>/dev/null)" ]; then
    say "settings changed, restarting $name-dockerd"
    stop TERM "$RUN/$name-dockerd.pid" dockerd
  fi
  if ! up "$name-dockerd" answers "$sock"; then
    rm -f "$dir/dockerd.pid" "$sock"
    echo '{}' > "$dir/daemon.json" # instead of the machine's own in /etc/docker
    echo "$args" > "$RUN/$name-dockerd.args"
    start "$name-dockerd" ${prefix[@]+"${prefix[@]}"} "$DOCKERD" --config-file "$dir/daemon.json" \
      --data-root "$dir/root" --exec-root "$dir/exec" --pidfile "$dir/dockerd.pid" \
      --containerd "$dir/containerd.sock" --cgroup-parent "/$(basename "$DOCKER_HOME")" -H "unix://$sock" "$@"
    must "$name-dockerd" answers "$sock"
  fi
  image "$sock"
}
image() { # image SOCKET: busybox:test, once
  ! on "$1" image inspect busybox:test >/dev/null 2>&1 || return 0
  "$HERE/../make_image.py" --busybox --tag busybox:test --out "$RUN/image.tar"
  on "$1" load -q -i "$RUN/image.tar" >/dev/null
  rm -f "$RUN/image.tar"
}
mkdir -p "$RUN" "$LOG"
chmod 711 "$DOCKER_HOME"

# -- certificates

sign() { # sign NAME COMMON-NAME USAGE [ALTERNATIVE-NAMES]
  openssl req -newkey rsa:2048 -nodes -keyout "$TLS/$1-key.pem" -out "$TLS/$1.csr" -subj "/CN=$2" 2>/dev/null
  cat > "$TLS/$1.ext" <<EXT
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyEncipherment
extendedKeyUsage=$3
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
${4:+subjectAltName=$4}
EXT
  openssl x509 -req -in "$TLS/$1.csr" -CA "$TLS/ca.pem" -CAkey "$TLS/ca-key.pem" -CAcreateserial -days 3650 \
    -out "$TLS/$1.pem" -extfile "$TLS/$1.ext" 2>/dev/null
  rm "$TLS/$1.csr" "$TLS/$1.ext"
}
tls=()
if [ "$DOCKER_TLS" = 1 ]; then
  if [ ! -s "$TLS/key.pem" ]; then
    mkdir -p "$TLS"
    chmod 700 "$TLS"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$TLS/ca-key.pem" -out "$TLS/ca.pem" -days 3650 \
      -subj /CN=pman-docker-ca -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
    sign server localhost serverAuth "DNS:localhost,IP:127.0.0.1"
    sign cert client clientAuth
    mv "$TLS/cert-key.pem" "$TLS/key.pem" # ca.pem, cert.pem, key.pem: what DOCKER_CERT_PATH expects
  fi
  tls=(-H "tcp://127.0.0.1:$DOCKER_TLS_PORT" --tlsverify --tlscacert "$TLS/ca.pem" --tlscert "$TLS/server.pem"
    --tlskey "$TLS/server-key.pem")
fi

# -- the engine

bridge() { # the network of the workers; before the engine, whose manager listens on it
  if ! ip link show $BRIDGE >/dev/null 2>&1; then
    ip link add $BRIDGE type bridge
    ip addr add $NET.1/24 dev $BRIDGE
    ip link set $BRIDGE up
  fi
  rule nat POSTROUTING -s $NET.0/24 ! -o $BRIDGE -j MASQUERADE
  rule filter FORWARD -i $BRIDGE -j ACCEPT
  rule filter FORWARD -o $BRIDGE -j ACCEPT
}
rule() { iptables -t "$1" -C "${@:2}" 2>/dev/null || iptables -t "$1" -I "${@:2}"; }

# dockerd sets the policy of FORWARD to DROP only if it finds forwarding off.
echo 1 > /proc/sys/net/ipv4/ip_forward || true
if [ "$DOCKER_SWARM_NODES" -gt 0 ] || [ -e "$DOCKER_HOME/w1" ]; then bridge; fi
ours=yes
if answers "$DOCKER_SOCK" && ! alive main-dockerd; then
  ours=no
  say "an engine that is not ours answers on $DOCKER_SOCK, using it"
  [ "$DOCKER_TLS" = 0 ] || die "DOCKER_TLS needs an engine that this script starts"
  image "$DOCKER_SOCK"
else
  read -ra options <<< "$DOCKERD_OPTS"
  within=""
  if [[ " $DOCKERD_OPTS " == *" --bridge=none "* ]]; then
    [ "$DOCKER_TLS$DOCKER_SWARM$DOCKER_SWARM_NODES" = 000 ] || die "--bridge=none cannot be had with TLS or a swarm"
    within="unshare --net"
  fi
  engine main "$DOCKER_HOME" "$DOCKER_SOCK" "$within" ${tls[@]+"${tls[@]}"} ${options[@]+"${options[@]}"}
fi

# -- the swarm

manager() { on "$DOCKER_SOCK" "$@"; }
if [ "$DOCKER_SWARM" = 1 ] || [ "$DOCKER_SWARM_NODES" -gt 0 ]; then
  address=127.0.0.1
  [ "$DOCKER_SWARM_NODES" = 0 ] || address=$NET.1
  read -r state at < <(manager info -f '{{.Swarm.LocalNodeState}} {{.Swarm.NodeAddr}}')
  if [ "$state" != inactive ] && [ "$DOCKER_SWARM_NODES" -gt 0 ] && [ "$at" != $address ]; then
    [ $ours = yes ] || die "the engine is in a swarm on ${at:-an unknown address}, which our workers cannot reach"
    say "leaving the swarm on ${at:-an unknown address}: workers cannot reach a manager there"
    manager swarm leave --force >/dev/null
    state=inactive
  fi
  if [ "$state" = inactive ]; then
    say "swarm manager on $address"
    manager swarm init --advertise-addr $address --listen-addr $address:2377 >/dev/null
  fi
  # An engine that was started anew answers before its swarm has a leader, and until then it denies every node.
  for _ in $(seq 600); do ! manager node ls >/dev/null 2>&1 || break; sleep 0.2; done
  manager node ls >/dev/null || die "the swarm has no leader; see $LOG/main-dockerd.log"
fi
if [ "$DOCKER_SWARM_NODES" -gt 0 ]; then
  cat > "$RUN/as" <<'SH'
#!/bin/sh
hostname "$1"; shift; exec "$@"
SH
  chmod 755 "$RUN/as"
  token=$(manager swarm join-token -q worker)
  for i in $(seq "$DOCKER_SWARM_NODES"); do
    w=w$i ns=pman-w$i link=pmanw$i sock=$DOCKER_HOME/w$i/docker.sock address=$NET.$((100 + i))
    if ! ip netns exec "$ns" true 2>/dev/null; then
      ip netns del "$ns" 2>/dev/null || true
      ip link del "$link" 2>/dev/null || true
      ip netns add "$ns"
      ip link add "$link" type veth peer name eth0 netns "$ns"
      ip link set "$link" master $BRIDGE up
      ip -n "$ns" link set lo up
      ip -n "$ns" addr add "$address/24" dev eth0
      ip -n "$ns" link set eth0 up
      ip -n "$ns" route add default via $NET.1
    fi
    # nsenter, because `ip netns exec` hides /sys/fs/cgroup
    engine "$w" "$DOCKER_HOME/$w" "$sock" "nsenter --net=/run/netns/$ns unshare --uts $RUN/as $w"
    read -r state id < <(on "$sock" info -f '{{.Swarm.LocalNodeState}} {{.Swarm.NodeID}}')
    if [ "$state" != inactive ] && ! manager node inspect "$id" >/dev/null 2>&1; then # of a swarm that is no more
      on "$sock" swarm leave --force >/dev/null
      state=inactive
    fi
    # It gives up after 20 s, but the engine goes on.
    [ "$state" != inactive ] || on "$sock" swarm join --token "$token" --advertise-addr "$address" $NET.1:2377 >/dev/null ||
      say "$w joins slowly"
  done
  all_ready() { [ "$(manager node ls --format '{{.Status}}' | grep -c Ready)" -gt "$DOCKER_SWARM_NODES" ]; }
  for _ in $(seq 600); do ! all_ready || break; sleep 0.2; done
  manager node ls
  all_ready || die "not every node is ready; see $LOG"
fi
say "ready: export DOCKER_HOST=unix://$DOCKER_SOCK"
[ "$DOCKER_TLS" = 0 ] ||
  say "or: export DOCKER_HOST=tcp://127.0.0.1:$DOCKER_TLS_PORT DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=$TLS"

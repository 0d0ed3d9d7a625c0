#!/usr/bin/env bash
# Bring up a real Kubernetes, or find one. In this order:
#   own    the cluster of KUBECONFIG, if that is set and answers (~/.kube/config is left alone: it may be anybody's)
#   kind   if `kind` is installed: a cluster named pman, whose node sees this machine's /tmp
#   k3s    if `k3s` is installed: its server, on 127.0.0.1, with a state of its own
#   kit    a cluster of one node out of one binary, if that is there: KUBE_KIT
# What already runs is left alone. The cluster gets the image busybox:test; into one's own it must be brought by oneself.
# Settings (environment):
#   KUBE_HOME=/var/lib/pman-kube   all state; the access to a cluster that this script started is $KUBE_HOME/NAME.kubeconfig
#   KUBE_KIT=../shared/testbed/kube (beside the checkout)   a folder with kube-up.sh, kube-down.sh and kubekit.xz
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testbed/common.sh
. "$HERE/../common.sh"
: "${KUBE_HOME:=/var/lib/pman-kube}" "${KUBE_KIT:=$HERE/../../../shared/testbed/kube}"
IMAGE=docker.io/library/busybox:test # what a node makes of busybox:test
PATH=$KUBE_HOME/bin:$PATH # the kit's kubectl is of its own release

answers() { # answers KUBECONFIG
  [ -s "$1" ] && kubectl --kubeconfig "$1" --request-timeout=5s get --raw=/readyz >/dev/null 2>&1
}
archive() { # archive FILE: busybox:test
  packages busybox-static python3
  "$HERE/../make_image.py" --busybox --tag "$IMAGE" --out "$1"
}
ctr_image() { # ctr_image COMMAND...: into the containerd that this command speaks to, once
  ! "$@" images ls -q | grep -qx "$IMAGE" || return 0
  archive "$KUBE_HOME/image.tar"
  "$@" images import "$KUBE_HOME/image.tar" >/dev/null
  rm -f "$KUBE_HOME/image.tar"
}
ready() { # ready NAME KUBECONFIG
  kubectl --kubeconfig "$2" wait --for=condition=Ready node --all --timeout=240s >/dev/null || die "$1: no node is Ready"
  for _ in $(seq 60); do # a node tells some seconds later what it has, and leaves out what is small beside 50 others
    ! has_told "$2" || break
    sleep 0.5
  done
  say "ready, $1: export KUBECONFIG=$2"
}
has_told() { # has_told KUBECONFIG: a node says that it has the image
  kubectl --kubeconfig "$1" get nodes -o jsonpath='{.items[*].status.images[*].names}' | grep -q "$IMAGE"
}

case ${KUBECONFIG:-} in
  "" | "$KUBE_HOME"/*) ;;
  *)
    if answers "$KUBECONFIG"; then
      say "ready, own: export KUBECONFIG=$KUBECONFIG"
      say "its nodes need the image busybox:test: $HERE/../make_image.py --busybox --tag $IMAGE --out FILE.tar"
      exit 0
    fi
    say "no cluster answers at KUBECONFIG=$KUBECONFIG"
    ;;
esac
unset KUBECONFIG
mkdir -p "$KUBE_HOME"

if command -v kind >/dev/null; then
  access=$KUBE_HOME/kind.kubeconfig
  if ! kind get clusters 2>/dev/null | grep -qx pman; then
    say "creating a cluster with kind"
    kind create cluster -q --name pman --kubeconfig "$access" --wait 120s --config - <<'YAML'
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes: [{role: control-plane, extraMounts: [{hostPath: /tmp, containerPath: /tmp}]}]
YAML
  fi
  answers "$access" || die "the cluster pman of kind does not answer; kind delete cluster --name pman"
  if ! has_told "$access"; then
    archive "$KUBE_HOME/image.tar"
    kind load image-archive -q --name pman "$KUBE_HOME/image.tar"
    rm -f "$KUBE_HOME/image.tar"
  fi
  ready kind "$access"
elif command -v k3s >/dev/null; then
  access=$KUBE_HOME/k3s.kubeconfig
  kubectl() { k3s kubectl "$@"; }
  if ! answers "$access"; then
    stop TERM "$KUBE_HOME/k3s.pid" k3s-server
    say "starting k3s"
    setsid k3s server --data-dir "$KUBE_HOME/k3s" --write-kubeconfig "$access" --bind-address 127.0.0.1 \
      --disable traefik,servicelb,metrics-server >> "$KUBE_HOME/k3s.log" 2>&1 < /dev/null &
    echo $! > "$KUBE_HOME/k3s.pid"
    for _ in $(seq 600); do ! answers "$access" || break; sleep 0.4; done
    answers "$access" || { tail -5 "$KUBE_HOME/k3s.log" >&2; die "k3s does not answer; see $KUBE_HOME/k3s.log"; }
  fi
  ctr_image k3s ctr -n k8s.io
  ready k3s "$access"
elif [ -s "$KUBE_KIT/kubekit.xz" ]; then
  KUBE_HOME=$KUBE_HOME "$KUBE_KIT/kube-up.sh"
  ctr_image kube-ctr
  ready kit "$KUBE_HOME/admin.kubeconfig"
else
  die "no cluster: set KUBECONFIG, or install kind or k3s, or set KUBE_KIT (nothing is in $KUBE_KIT)"
fi

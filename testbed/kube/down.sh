#!/usr/bin/env bash
# End the cluster that kube/up.sh started. One that was there before, by KUBECONFIG, is left alone. Settings:
#   KUBE_HOME=/var/lib/pman-kube, KUBE_KIT=../shared/testbed/kube   as for up.sh
#   KUBE_WIPE=0                                                     1: also delete all state
set -uo pipefail # no -e: a step that fails must not keep the others from being done
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testbed/common.sh
. "$HERE/../common.sh"
: "${KUBE_HOME:=/var/lib/pman-kube}" "${KUBE_KIT:=$HERE/../../../shared/testbed/kube}" "${KUBE_WIPE:=0}"
[ -d "$KUBE_HOME" ] || { say "nothing in $KUBE_HOME"; exit 0; }

if [ -e "$KUBE_HOME/kind.kubeconfig" ]; then
  kind delete cluster -q --name pman
  rm -f "$KUBE_HOME/kind.kubeconfig" # kind keeps no state of a cluster that has ended
fi
if [ -e "$KUBE_HOME/k3s.pid" ]; then
  stop TERM "$KUBE_HOME/k3s.pid" k3s-server
  # Pods outlive the server; k3s installs this script beside itself.
  ! command -v k3s-killall.sh >/dev/null || k3s-killall.sh >/dev/null 2>&1
fi
[ ! -e "$KUBE_HOME/bin/kubekit" ] || KUBE_HOME=$KUBE_HOME KUBE_WIPE=$KUBE_WIPE "$KUBE_KIT/kube-down.sh"

[ "$KUBE_WIPE" = 0 ] || rm -rf "$KUBE_HOME"
say "ended"

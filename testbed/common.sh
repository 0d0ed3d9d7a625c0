# Sourced by every script of the testbed (bash): messages, packages, processes.

say() { local script; script=$(realpath "$0"); echo "[${script##*/testbed/}] $*"; }
die() { say "$@" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "run as root"
export DEBIAN_FRONTEND=noninteractive

packages() ( # packages NAME...: install what is missing, and let no package start a daemon of its own
  need=() log=/var/log/pman-testbed-apt.log
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || need+=("$name")
  done
  [ ${#need[@]} -gt 0 ] || exit 0
  say "apt: ${need[*]}"
  if [ ! -e /usr/sbin/policy-rc.d ] && [ ! -d /run/systemd/system ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  _install "${need[@]}" > "$log" 2>&1 || { _apt update && _install "${need[@]}" > "$log" 2>&1; } ||
    { tail -20 "$log" >&2; die "apt cannot install ${need[*]}"; }
)
# A mirror that refuses once is asked again.
_apt() { apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=5 "$@"; }
_install() { _apt install -y --no-install-recommends "$@"; }

lives() { # lives PIDFILE COMMAND: the file names a process of that program, which is no zombie
  local pid
  pid=$(cat "$1" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] &&
    grep -q '^State:[[:space:]]*[^ZX]' "/proc/$pid/status" 2>/dev/null
}

gone() { # gone SECONDS PIDFILE COMMAND: wait so long for it to end
  local end=$((SECONDS + $1))
  shift
  while lives "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}

stop() { # stop SIGNAL PIDFILE COMMAND: end it, by force after 20 s
  ! lives "$2" "$3" || kill "-$1" "$(cat "$2")" 2>/dev/null || true
  gone 20 "$2" "$3" || kill -9 "$(cat "$2")" 2>/dev/null || true
  gone 5 "$2" "$3" || say "$3 does not end"
  rm -f "$2"
}

#!/usr/bin/env bash
# Bring up a real Slurm cluster of several nodes on this machine: slurmctld, slurmd, munge, slurmrestd with tokens, if
# asked slurmdbd with a database of its own, and Apptainer: no systemd. It is Debian's Slurm (22.05 on Debian 12).
# What already runs with the same settings is left alone; with other settings Slurm is restarted, and its jobs end. A
# Slurm of somebody else, which answers or is configured in /etc/slurm, is not touched. Settings (environment):
#   SLURM_HOME=/var/lib/pman-slurm   all state: spools, the key of the tokens, database, log/, images/
#   SLURM_NODES=6            nodes n1..nN, one slurmd each; each has the CPUs and the memory of this machine
#   SLURM_GPUS=1             GPUs of each node; they are no devices: only who gets them is true
#   SLURM_DBD=0              1: slurmdbd and MariaDB on 127.0.0.1, so that sacct works
#   SLURM_MIN_JOB_AGE=300    so many seconds slurmctld remembers an ended job
#   SLURM_REST=1             slurmrestd on 127.0.0.1:$SLURM_REST_PORT
#   SLURM_REST_PORT=6820
#   SLURM_SERVICE=pman-slurm an account without rights to submit as, made if it is missing, and left
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testbed/common.sh
. "$HERE/../common.sh"
: "${SLURM_HOME:=/var/lib/pman-slurm}" "${SLURM_NODES:=6}" "${SLURM_GPUS:=1}" "${SLURM_DBD:=0}" "${SLURM_MIN_JOB_AGE:=300}"
: "${SLURM_REST:=1}" "${SLURM_REST_PORT:=6820}" "${SLURM_SERVICE:=pman-slurm}"
# What it starts stays. It must not keep open what belongs to whoever has called: a lock would be held for ever.
for fd in /proc/$$/fd/*; do
  fd=${fd##*/}
  ((fd <= 2 || fd == 255)) || eval "exec $fd>&-" # 255 is this text itself
done
ETC=/etc/slurm LOG=$SLURM_HOME/log RUN=/run/pman-slurm
MARK="# Written by testbed/slurm/up.sh of pman"
unset SLURM_CONF SLURM_JWT # the commands read them
# shellcheck source=testbed/slurm/configuration.sh
. "$HERE/configuration.sh"

answers() { scontrol ping 2>/dev/null | grep -q 'is UP'; }
waits() { # waits SECONDS QUESTION...: until it is true
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.1
  done
}
dies() { tail -20 "$LOG/$1.log" >&2; die "$1 does not answer; see $LOG/$1.log"; }

if [ -s $ETC/slurm.conf ] && ! grep -qxF "$MARK" $ETC/slurm.conf; then
  ! answers || { say "ready: the Slurm of $ETC/slurm.conf, which is not the testbed's"; exit 0; }
  die "$ETC/slurm.conf is of another Slurm, which does not answer"
fi

packages munge slurm-client slurmctld slurmd slurm-wlm-basic-plugins slurmrestd slurm-wlm-jwt-plugin busybox-static python3
[ "$SLURM_DBD" = 0 ] || packages slurmdbd slurm-wlm-mysql-plugin mariadb-server
"$HERE/apptainer.sh"
id "$SLURM_SERVICE" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$SLURM_SERVICE"
# slurmrestd refuses to be root or Slurm's own user.
id slurmrest >/dev/null 2>&1 || useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin slurmrest

# -- folders, keys, configuration

install -d -o munge -g munge -m 755 /run/munge
install -d -o munge -g munge -m 700 /var/log/munge /var/lib/munge /etc/munge
install -d -m 755 "$SLURM_HOME" "$SLURM_HOME/images" "$SLURM_HOME/slurmd" "$ETC"
install -d -o slurm -g slurm -m 755 "$SLURM_HOME/slurmctld" "$SLURM_HOME/jwt" "$LOG" "$RUN"
key() { # key OWNER FILE
  [ -s "$2" ] || (umask 077 && head -c 128 /dev/urandom > "$2.new" && chown "$1:$1" "$2.new" && mv "$2.new" "$2")
}
key munge /etc/munge/munge.key
key slurm "$SLURM_HOME/jwt/key"

configuration=$(mktemp -d)
trap 'rm -rf "$configuration"' EXIT
configure "$configuration"
if ! diff -rq "$configuration" "$SLURM_HOME/etc" >/dev/null 2>&1; then
  if [ -e "$SLURM_HOME/etc" ]; then
    say "settings changed"
    "$HERE/down.sh"
  fi
  install -m 644 "$configuration"/*.conf "$ETC"
  chmod 600 "$ETC/slurmdbd.conf"
  chown slurm:slurm "$ETC/slurmdbd.conf"
  rm -rf "$SLURM_HOME/etc"
  cp -r "$configuration" "$SLURM_HOME/etc"
fi

# -- the image, as an archive and as what Apptainer makes of it

archive=$SLURM_HOME/images/busybox.tar sif=$SLURM_HOME/images/busybox.sif
[ -s "$archive" ] || { "$HERE/../make_image.py" --busybox --tag busybox:test --out "$archive.new" && mv "$archive.new" "$archive"; }
[ -s "$sif" ] || { apptainer --quiet build --force "$sif.new" "docker-archive:$archive" && mv "$sif.new" "$sif"; }

# -- munge, accounting

sealed() { munge -n | unmunge; }
if ! sealed >/dev/null 2>&1; then
  say "starting munged"
  runuser -u munge -- /usr/sbin/munged
  touch "$RUN/munged"
fi
waits 60 sealed || die "munge does not work; see /var/log/munge/munged.log"

if [ "$SLURM_DBD" = 1 ]; then
  sql() { mariadb --no-defaults --socket="$RUN/mysql.sock" --user=root --execute="$1"; }
  if ! lives "$RUN/mariadbd.pid" mariadbd; then
    say "starting mariadbd"
    install -d -o slurm -g slurm -m 700 "$SLURM_HOME/mysql"
    [ -d "$SLURM_HOME/mysql/mysql" ] || mariadb-install-db --no-defaults --user=slurm --datadir="$SLURM_HOME/mysql" \
      --auth-root-authentication-method=normal --skip-test-db > "$LOG/mariadb-install.log" 2>&1
    setsid mariadbd --no-defaults --user=slurm --datadir="$SLURM_HOME/mysql" --socket="$RUN/mysql.sock" \
      --pid-file="$RUN/mariadbd.pid" --bind-address=127.0.0.1 --port="$MYSQL_PORT" --innodb-buffer-pool-size=64M \
      --innodb-flush-log-at-trx-commit=2 >> "$LOG/mariadbd.log" 2>&1 < /dev/null &
  fi
  waits 120 sql "select 1" || dies mariadbd
  sql "create database if not exists slurm; create user if not exists slurm@'127.0.0.1' identified by 'slurm';
    grant all on slurm.* to slurm@'127.0.0.1'"
  if ! lives "$RUN/slurmdbd.pid" slurmdbd; then
    say "starting slurmdbd"
    /usr/sbin/slurmdbd
  fi
  waits 180 sacctmgr -n show cluster || dies slurmdbd
  sacctmgr -n show cluster format=cluster | grep -qw pman || sacctmgr -i add cluster pman >/dev/null
fi

# -- the controller and its nodes

if ! lives "$RUN/slurmctld.pid" slurmctld; then
  say "starting slurmctld"
  /usr/sbin/slurmctld
fi
waits 120 answers || dies slurmctld
for number in $(seq "$SLURM_NODES"); do
  install -d -m 755 "$SLURM_HOME/slurmd/n$number"
  lives "$RUN/slurmd-n$number.pid" slurmd || /usr/sbin/slurmd -N "n$number"
done
usable() { # and what was drained or lost in an earlier life is resumed
  for node in $(sinfo -h -N -o '%N %T' | awk '$2 ~ /^(drain|down|inval)/ { print $1 }' | sort -u); do
    scontrol update NodeName="$node" State=RESUME || true
  done
  [ "$(sinfo -h -N -o %T | grep -cE '^(idle|mixed|allocated|completing)$')" = "$SLURM_NODES" ]
}
waits 120 usable || { sinfo -N -l >&2; dies slurmd-n1; }

# -- the REST service

if [ "$SLURM_REST" = 1 ]; then
  plugins=openapi/v0.0.36,openapi/v0.0.37,openapi/v0.0.38
  # Without slurmdbd these end it: "slurm not configured with slurmdbd".
  [ "$SLURM_DBD" = 0 ] || plugins=$plugins,openapi/dbv0.0.36,openapi/dbv0.0.37,openapi/dbv0.0.38
  open() { (exec 3<> "/dev/tcp/127.0.0.1/$SLURM_REST_PORT"); }
  if ! lives "$RUN/slurmrestd.pid" slurmrestd; then
    say "starting slurmrestd"
    # SLURM_JWT=daemon: it speaks to slurmctld with the token of its caller, not with munge.
    (cd / && SLURM_JWT=daemon exec setsid setpriv --reuid=slurmrest --regid=slurmrest --clear-groups \
      /usr/sbin/slurmrestd -a rest_auth/jwt -s $plugins "127.0.0.1:$SLURM_REST_PORT" \
      >> "$LOG/slurmrestd.log" 2>&1 < /dev/null) &
    echo $! > "$RUN/slurmrestd.pid"
  fi
  waits 60 open || dies slurmrestd
  say "REST on http://127.0.0.1:$SLURM_REST_PORT; scontrol token username=NAME lifespan=SECONDS makes a token"
fi
say "ready: $SLURM_NODES nodes, $([ "$SLURM_DBD" = 1 ] || echo "no ")accounting, images in $SLURM_HOME/images"

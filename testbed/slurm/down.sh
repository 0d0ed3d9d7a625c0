#!/usr/bin/env bash
# End the Slurm that slurm/up.sh started, and its jobs with it. munged stays if it ran before. Settings (environment):
#   SLURM_HOME=/var/lib/pman-slurm   as for up.sh
#   SLURM_WIPE=0                     1: also delete all its state, and its configuration in /etc/slurm
set -uo pipefail # no -e: a step that fails must not keep the others from being done
# shellcheck source=testbed/common.sh
. "$(dirname "$0")/../common.sh"
: "${SLURM_HOME:=/var/lib/pman-slurm}" "${SLURM_WIPE:=0}"
RUN=/run/pman-slurm
[ -d "$SLURM_HOME" ] || { say "nothing in $SLURM_HOME"; exit 0; }
unset SLURM_CONF SLURM_JWT
shopt -s nullglob

if lives "$RUN/slurmctld.pid" slurmctld && timeout 10 scontrol ping | grep -q 'is UP'; then
  squeue -h -o %A | sort -u | xargs -r scancel # else their slurmstepd outlive the nodes
  for _ in $(seq 100); do
    [ -n "$(squeue -h -o %A)" ] || break
    sleep 0.1
  done
fi
stop TERM "$RUN/slurmrestd.pid" slurmrestd &
for file in "$RUN"/slurmd-*.pid; do stop TERM "$file" slurmd & done
wait
stop TERM "$RUN/slurmctld.pid" slurmctld
stop TERM "$RUN/slurmdbd.pid" slurmdbd
stop TERM "$RUN/mariadbd.pid" mariadbd
if [ -e "$RUN/munged" ]; then
  stop TERM /run/munge/munged.pid munged
  rm -f "$RUN/munged"
fi

if [ "$SLURM_WIPE" = 1 ]; then
  rm -rf "$SLURM_HOME" "$RUN"
  for file in /etc/slurm/{slurm,slurmdbd,cgroup,gres}.conf; do
    ! grep -qxF "# Written by testbed/slurm/up.sh of pman" "$file" 2>/dev/null || rm -f "$file"
  done
fi
say "ended"

# Sourced by up.sh (bash): what the cluster is told of itself.

MYSQL_PORT=13306 DBD_PORT=6819

configure() { # configure FOLDER: write slurm.conf and what belongs to it
  local host cpus memory_mib number gres="" cgroup=no
  host=$(hostname -s) cpus=$(nproc)
  memory_mib=$(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) / 1024 - 100))
  [ "$SLURM_GPUS" = 0 ] || gres="Gres=gpu:$SLURM_GPUS"
  # Slurm's plugin for control groups of version 1 wants each controller by itself. For version 2 it wants systemd.
  ! { [ -w /sys/fs/cgroup/memory/cgroup.procs ] && [ -w /sys/fs/cgroup/freezer/cgroup.procs ] &&
    [ -w /sys/fs/cgroup/cpuset/cgroup.procs ]; } || cgroup=yes

  {
    echo "$MARK"
    cat <<CONF
ClusterName=pman
SlurmctldHost=$host(127.0.0.1)
SlurmUser=slurm
AuthType=auth/munge
CredType=cred/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=$SLURM_HOME/jwt/key
StateSaveLocation=$SLURM_HOME/slurmctld
SlurmdSpoolDir=$SLURM_HOME/slurmd/%n
SlurmctldPidFile=$RUN/slurmctld.pid
SlurmdPidFile=$RUN/slurmd-%n.pid
SlurmctldLogFile=$LOG/slurmctld.log
SlurmdLogFile=$LOG/slurmd-%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
# By default a job waits 3 s for others to be submitted beside it.
SchedulerParameters=batch_sched_delay=0,sched_min_interval=10000,bf_interval=1
# Else what no node can ever grant is accepted, and waits for ever.
EnforcePartLimits=ALL
ReturnToService=2
SlurmdTimeout=15
MinJobAge=$SLURM_MIN_JOB_AGE
MaxJobCount=20000
KillWait=2
# A node that does not answer an order to launch a job within these times, by default 10 s, loses it: what may not be
# requeued is cancelled, or fails with its node. On a busy machine a node takes seconds, once 22.
MessageTimeout=60
BatchStartTimeout=60
MpiDefault=none
PropagateResourceLimits=NONE
DefMemPerCPU=256
JobAcctGatherFrequency=task=1
CONF
    if [ $cgroup = yes ]; then
      printf '%s\n' ProctrackType=proctrack/cgroup TaskPlugin=task/cgroup JobAcctGatherType=jobacct_gather/cgroup
    else # memory is looked at once a second, and a job that has too much ends as FAILED
      printf '%s\n' ProctrackType=proctrack/linuxproc TaskPlugin=task/none JobAcctGatherType=jobacct_gather/linux \
        JobAcctGatherParams=OverMemoryKill
    fi
    if [ "$SLURM_DBD" = 1 ]; then
      printf '%s\n' AccountingStorageType=accounting_storage/slurmdbd AccountingStorageHost=127.0.0.1 \
        AccountingStoragePort=$DBD_PORT AccountingStoreFlags=job_comment
    else
      echo AccountingStorageType=accounting_storage/none
    fi
    [ "$SLURM_GPUS" = 0 ] || echo GresTypes=gpu
    for number in $(seq "$SLURM_NODES"); do
      echo "NodeName=n$number NodeHostname=$host NodeAddr=127.0.0.1 Port=$((17000 + number)) CPUs=$cpus" \
        "RealMemory=$memory_mib $gres State=UNKNOWN"
    done
    echo "PartitionName=debug Nodes=ALL Default=YES MaxTime=7-0 DefaultTime=60 State=UP"
  } > "$1/slurm.conf"

  cat > "$1/cgroup.conf" <<CONF
$MARK
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainCores=$cgroup
ConstrainRAMSpace=$cgroup
ConstrainSwapSpace=no
ConstrainDevices=no
CONF

  echo "$MARK" > "$1/gres.conf"
  for number in $(seq 0 $((SLURM_GPUS - 1))); do # of a GPU without a device a node says that it has none
    [ -c "$SLURM_HOME/gpu$number" ] || mknod -m 666 "$SLURM_HOME/gpu$number" c 1 3
    echo "Name=gpu File=$SLURM_HOME/gpu$number" >> "$1/gres.conf"
  done

  cat > "$1/slurmdbd.conf" <<CONF
$MARK
AuthType=auth/munge
AuthAltTypes=auth/jwt
AuthAltParameters=jwt_key=$SLURM_HOME/jwt/key
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$DBD_PORT
SlurmUser=slurm
LogFile=$LOG/slurmdbd.log
PidFile=$RUN/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$MYSQL_PORT
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
CONF
}

#!/bin/bash
# Runs one job of pman on a node of a cluster: lets its generation run once, fetches the image, runs the argv in the
# container, writes down how it ended. bash 4.4, GNU coreutils, util-linux (flock).
#
#   launcher.bash CONTROL_FOLDER NATIVE_ID [task IMAGE]
#
# Behind this text come watch.bash and a call of `start`. It is the same for every job; what a job brings is read from
# files of its control folder, with NUL between the items, and reaches the container as elements of an array. Nothing of
# it is ever part of a line of this program.
#
#   launch    NAME=VALUE: see files.py
#   runtime   the command line of the container runtime, up to the image
#   env       NAME=VALUE: what the runtime, or the bare command, finds in its environment
#   argv      the command line of the job
#   claim/    whose run it is: made by one rename, so that there is one winner
#   end/      how it ended: likewise
#   failed/   of several tasks, the first one that has failed: likewise
#   succeeded.N/  task N of several has succeeded
#   verdict/  pman's own: the job has been ended, nothing may begin
#   log       stdout and stderr of the job, from when its image is there
#   removed   pman's own: likewise, and the job is forgotten
#   alive     touched as long as the launcher is there
#   fetching  the image is being fetched, here or by another one that is waited for
#
# Exit codes: the job's own; NOT_OURS when the run belongs to another one, or to nobody any more; OWN_FAULT when the
# job never began, which `end/` explains.
# What a node must not inherit from its user's settings:
unset BASH_ENV ENV CDPATH GLOBIGNORE IFS
set -u
umask 077
export LC_ALL=C
readonly NOT_OURS=113 OWN_FAULT=114 TERMINATED=143 TEXT_BYTES_MAX=2000
# 4.4: `mapfile -d`, `$!` of a process substitution, "${empty[@]}" under `set -u`.
readonly BASH_MIN=404
readonly folder=$1 native_id=$2
readonly nonce=$native_id.${SLURM_RESTART_COUNT:-0}.$HOSTNAME.$$
is_over='' is_hinted='' is_told=''

now() { printf '%(%s)T' -1; }
say() { printf 'pman: %s\n' "$*" >&2; }

# put NAME FACT...: write the facts as NAME/facts. The first one who does so wins; fails for all others.
put() {
  local name=$1 prepared=$folder/$1.$nonce
  shift
  # Never with -p: a folder that is gone must not come back.
  mkdir -- "$prepared" && printf '%s\0' "$@" >"$prepared/facts" && mv -T -- "$prepared" "$folder/$name" 2>/dev/null &&
    return
  rm -rf -- "$prepared"
  return 1
}

# fact NAME KEY: print the value that NAME/facts has for KEY.
fact() {
  local line
  while IFS= read -r -d '' line; do
    [[ $line == "$2="* ]] && printf %s "${line#*=}"
  done 2>/dev/null <"$folder/$1/facts"
}

# end CAUSE EXIT_CODE TEXT: write down the end, unless it is there: one of several tasks may have done so.
end() {
  put end "cause=$1" "exit_code=$2" "text=$3" "native_id=$native_id" "host=$HOSTNAME" "started_at=$started_at" \
    "finished_at=$(now)" || [[ -e $folder/end/facts ]] || say "the end ($1, $2) could not be written down"
}

fail() {
  say "$2"
  end "$1" "" "$2"
  exit $OWN_FAULT
}

leave_if_over() {
  look
  [[ ! $is_over ]] || fail start_failed "the job was ended before it began"
}

# quote FILE: print its end without control characters, for people.
quote() { tail -c "$TEXT_BYTES_MAX" -- "$1" | tr -d '\000-\010\013-\037\177'; }

# claim: go on only if this run is the one that the generation has.
claim() {
  [[ -d $folder ]] || {
    say "$folder is not there on $HOSTNAME: the job was removed, or the store is not mounted"
    exit $NOT_OURS
  }
  put claim "native_id=$native_id" "restarts=${SLURM_RESTART_COUNT:-0}" "nonce=$nonce" "host=$HOSTNAME" "at=$started_at"
  if [[ $(fact claim nonce) != "$nonce" ]]; then
    say "another run has claimed the job: $(fact claim nonce)"
    [[ $(fact claim native_id) == "$native_id" ]] && end requeued "" "the job was requeued and is not run again"
    exit $NOT_OURS
  fi
  if [[ -e $folder/verdict || -e $folder/removed ]]; then
    say "the job was ended before it began"
    exit $NOT_OURS
  fi
}

# need_bash: what an older one does to the lines below, it would do without a word. Up to here bash 4.2 is enough.
need_bash() {
  ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= BASH_MIN)) ||
    fail start_failed "the launcher needs bash 4.4, and $BASH on $HOSTNAME is $BASH_VERSION"
}

read_files() {
  mapfile -d '' -t launch <"$folder/launch" && mapfile -d '' -t runtime <"$folder/runtime" &&
    mapfile -d '' -t environment <"$folder/env" && mapfile -d '' -t argv <"$folder/argv" ||
    fail start_failed "the control folder cannot be read on $HOSTNAME"
  local line
  declare -gA setting=()
  for line in "${launch[@]}"; do setting[${line%%=*}]=${line#*=}; done
  export PATH=${setting[path]}
  host=("PATH=$PATH" "HOME=$(getent passwd "$UID" | cut -d: -f6)" "USER=$(id -un 2>/dev/null)" LANG=C.UTF-8
    "TMPDIR=${setting[scratch]}" "XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-${setting[scratch]}/pman-run-$UID}")
}

# find_image: set `image` to what the runtime takes; fetch it into the cache if it is not there.
find_image() {
  image=${setting[image]}
  [[ ${setting[program]} == podman ]] && pull "$image"
  [[ ${setting[cache]} ]] || return
  local source=${setting[source]} name=${setting[name]} local_file=${setting[images]:+${setting[images]}/$image}
  if [[ $local_file && -e $local_file.sif ]]; then
    image=$local_file.sif
    return
  elif [[ $local_file && -e $local_file.tar ]]; then
    source=${setting[archive]}:$local_file.tar
    name=$name-$(stat -c %Y-%s -- "$local_file.tar")
  fi
  image=${setting[cache]}/$name.sif
  # A policy of "always" is about the registry; who was submitted before the last fetch has its image.
  local is_stale=
  [[ ${setting[policy]} == always && $source == docker://* && $image -ot $folder/launch ]] && is_stale=yes
  [[ -e $image && ! $is_stale ]] && return
  [[ ${setting[policy]} == never && $source == docker://* ]] &&
    fail image_pull "the image ${setting[image]} is not in ${setting[cache]}, and IMAGE_PULL_POLICY is never"
  mkdir -p -- "${setting[cache]}" || fail image_pull "the image cache ${setting[cache]} cannot be written on $HOSTNAME"
  : >"$folder/fetching"
  # The lock only saves work: where the file system has none, two nodes fetch, and the last rename counts.
  local lock
  if exec {lock}>>"$image.lock"; then
    flock -w "${setting[pull_timeout_s]}" "$lock" {life}>&- &
    await $! || say "no lock on $image.lock"
    leave_if_over
  fi
  if [[ ! -e $image || ($is_stale && $image -ot $folder/launch) ]]; then fetch "$source" "$image"; fi
  exec {lock}>&-
}

# fetch SOURCE IMAGE
fetch() {
  local part=$2.$nonce.part source=$1 status
  rm -rf -- "$part"
  if [[ $1 != docker://* ]]; then
    # A colon in its name would be taken for the beginning of a tag.
    ln -sfn -- "${1#*:}" "$part.tar" && source=${1%%:*}:$part.tar
  fi
  # The runtime's own cache, in the home of all nodes, has no lock: builds side by side read its index half written.
  env -i -- "${host[@]}" timeout -k 10 "${setting[pull_timeout_s]}" "${setting[program]}" build --disable-cache \
    "$part" "$source" </dev/null >"$folder/pull" 2>&1 {life}>&- &
  await $!
  status=$?
  rm -f -- "$part.tar"
  if ((status == 0)) && mv -T -- "$part" "$2" 2>>"$folder/pull"; then return; fi
  rm -rf -- "$part"
  fail_fetch "$status" "$1"
}

# pull IMAGE: into the storage that podman has on this node. Those of other nodes get it with their task.
pull() {
  local status flags
  env -i -- "${host[@]}" podman image exists "$1" </dev/null >"$folder/pull" 2>&1 {life}>&- &
  await $!
  status=$?
  leave_if_over
  if ((status == 0)); then
    [[ ${setting[policy]} != always ]] && return
  elif [[ ${setting[policy]} == never ]]; then
    ((status == 1)) || fail_fetch "$status" "$1"
    fail image_pull "the image $1 is not on $HOSTNAME, and IMAGE_PULL_POLICY is never"
  fi
  : >"$folder/fetching"
  read -ra flags < <(printf '%s\n' "${setting[pull_flags]-}")
  env -i -- "${host[@]}" timeout -k 10 "${setting[pull_timeout_s]}" podman pull --quiet "${flags[@]}" "$1" \
    </dev/null >"$folder/pull" 2>&1 {life}>&- &
  await $!
  status=$?
  ((status == 0)) || fail_fetch "$status" "$1"
}

# fail_fetch STATUS SOURCE
fail_fetch() {
  leave_if_over
  (($1 == 124)) && fail image_pull "the image was not there after ${setting[pull_timeout_s]} s: $2"
  fail image_pull "the image $2 cannot be fetched: $(quote "$folder/pull")"
}

# check_folder NAME: a job that ran meanwhile may have put a link where this job's folder was.
check_folder() {
  local wanted found
  IFS= read -r -d '' wanted < <(realpath -ez -- "${setting[store]}") &&
    IFS= read -r -d '' found < <(realpath -ez -- "${setting[store]}/${setting[$1]}") &&
    [[ $found == "$wanted/${setting[$1]}" && -d $found ]] ||
    fail start_failed "the $1 folder is not what it was: ${setting[store]}/${setting[$1]}"
}

# Apptainer's variables have names that mean nothing to bash, which can export them; `env` would show their values to
# every user of the node for as long as it takes to start.
readonly WITH_ENVIRONMENT='mapfile -d "" -t entries <"$1" || exit; shift
((${#entries[@]} == 0)) || export "${entries[@]}"
exec "$@"'

# run_task IMAGE: run the argv in the container, with its output where ours goes; return its exit code.
run_task() {
  local scratch='' status gpus=()
  check_folder incoming
  check_folder outgoing
  if [[ ${setting[scratch_flag]} ]]; then
    scratch=$(mktemp -d -- "${setting[scratch]}/pman.$native_id.XXXXXX") ||
      fail start_failed "no folder can be made in ${setting[scratch]} on $HOSTNAME"
    runtime+=("${setting[scratch_flag]}" "$scratch")
  fi
  [[ ${setting[gpu_variable]} && -v CUDA_VISIBLE_DEVICES ]] &&
    gpus=("${setting[gpu_variable]}=$CUDA_VISIBLE_DEVICES")
  leave_if_over
  (
    umask 022
    exec {life}>&-
    if [[ ${setting[scratch_flag]} ]]; then
      exec env -i -- "${host[@]}" "${gpus[@]}" "$BASH" -c "$WITH_ENVIRONMENT" pman "$folder/env" "${runtime[@]}" "$1" "${argv[@]}" </dev/null
    fi
    exec env -i -- "${host[@]}" "${gpus[@]}" "${environment[@]}" "${runtime[@]}" ${1:+"$1"} "${argv[@]}" </dev/null
  ) &
  await $! 2>/dev/null # where bash tells of a death by a signal, which is not for the job's log
  status=$?
  [[ $scratch ]] && { chmod -R u+rwX -- "$scratch"; rm -rf -- "$scratch"; } 2>/dev/null
  return $status
}

# last_line: print the last line of the log that is not Slurm's own, which tells of the tasks that it has killed.
last_line() { quote "$folder/log" | grep -avE '^(srun|[0-9]+: slurmstepd[^ ]*): ' | tail -n 1; }

# all_succeeded: whether every task has said so. Each name is asked for once, so that no NFS remembers that it was not there.
all_succeeded() {
  local -i task
  for ((task = 0; task < setting[tasks]; task++)); do [[ -e $folder/succeeded.$task/facts ]] || return; done
}

main() {
  started_at=$(now)
  claim
  need_bash
  read_files
  : >>"$folder/alive"
  start_watch
  find_image
  leave_if_over
  # Else what it cannot be opened for would count as the job's own end.
  : >>"$folder/log" || fail start_failed "the log of the job cannot be written on $HOSTNAME"
  local status first=''
  if ((setting[tasks] > 1)); then
    srun --nodes="${setting[tasks]}" --ntasks="${setting[tasks]}" --ntasks-per-node=1 --kill-on-bad-exit=1 --label \
      ${SLURM_CPUS_PER_TASK:+"--cpus-per-task=$SLURM_CPUS_PER_TASK"} --input=none --export=ALL "$BASH" "$0" "$folder" "$native_id" task "$image" >>"$folder/log" 2>&1 {life}>&- &
    await $!
    status=$?
    # srun tells the highest of all codes, and those whom it kills for one that has failed come to 137.
    ((status)) && first=$(fact failed exit_code)
    status=${first:-$status}
    # Of tasks that Slurm has ended, to requeue the job perhaps, srun tells 0, too.
    ((status)) || all_succeeded || status=$TERMINATED
  else
    run_task "$image" >>"$folder/log" 2>&1
    status=$?
  fi
  [[ $is_over ]] && say "the control folder says that the job is over: what ran of it was ended"
  local last=''
  [[ " ${setting[start_failures]} " == *" $status "* ]] && last=$(last_line)
  # Said by the runtime itself: the command was not there, or could not be run. Of several tasks, the number comes first.
  if [[ $last =~ ^([0-9]+:\ )?"${setting[start_mark]}" ]]; then
    end start_failed "$status" "$last"
  else
    end exited "$status" ""
  fi
  exit "$status"
}

start() {
  if [[ ${3:-} == task ]]; then
    started_at=$(now)
    need_bash
    read_files
    start_watch
    run_task "$4"
    local -i status=$?
    if ((status)); then
      put failed "exit_code=$status" "task=${SLURM_PROCID:-}" "host=$HOSTNAME"
    else
      put "succeeded.${SLURM_PROCID:-}" "host=$HOSTNAME"
    fi 2>/dev/null
    exit "$status"
  else
    main
  fi
}

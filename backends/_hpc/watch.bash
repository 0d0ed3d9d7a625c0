# The other half of launcher.bash: what the launcher hears while its job runs, from the scheduler and from the control
# folder, and how it ends what is over.

# watch SECONDS: every so often, touch `alive` and look whether the job is over, until stdin ends, which the launcher has
# the other end of. A scheduler that loses sight of a job says that it has ended; `alive` says that it has not. And what
# has been ended or removed, and is not reached by its scheduler any more, is ended here.
watch() {
  trap '' TERM USR1
  while
    touch -c -- "$folder/alive"
    if has_ended || is_gone; then kill -USR1 $$; fi
    read -rt "$1"
    (($? > 128))
  do :; done
}

# has_ended: whether the folder says so. A listing: of a single name NFS may remember for long that it was not there.
has_ended() {
  local name
  for name in "$folder"/*; do
    [[ $name == */verdict || $name == */removed ]] && return
  done
  return 1
}

# is_gone: whether the store has no such folder any more. A store that is away for a while says nothing: its marker must
# be there, and the answer be that one. By one `cd`, so that it is one file system that says both.
is_gone() (
  cd -- "${folder%/*}" && [[ -e .mounted ]] && ! said=$(stat -- "${folder##*/}" 2>&1) &&
    [[ $said == *': No such file or directory' ]]
)

# The traps only note what came. They do nothing themselves: `read` in a trap takes its time-out from a `read` that it
# interrupts, and of a child that ends in the instant in which a trap interrupts `wait`, bash loses the exit code, and
# then waits for ever.
hear() { trap is_told=yes TERM && trap is_hinted=yes USR1; }

start_watch() {
  hear
  # Open for both, so that it has a reader that nothing ever comes to: `await` waits on it.
  exec {life}<> >(watch "${setting[heartbeat_s]}" >/dev/null 2>&1)
  watcher=$!
}

# await PID: wait for its end, whatever signals come meanwhile; return its exit code.
await() {
  local status
  while kill -0 "$1" 2>/dev/null; do
    read -rt 0.2 -u "$life"
    [[ $is_told ]] && { is_told=''; pass_on_term; }
    look
    [[ $is_over ]] && end_family
  done
  # Its exit code is known now. A signal would be told in its place; the watch gives its own again.
  trap '' TERM USR1
  wait "$1"
  status=$?
  hear
  return $status
}

# look: set `is_over` if the watch has hinted that the job is over. Others may send its signal, too, so the folder decides.
look() {
  [[ $is_hinted ]] || return
  is_hinted=''
  if has_ended || is_gone; then is_over=yes; fi
}

# A job that is told to end ends by itself, and its end is to be written down. A container that is not our child must be told.
pass_on_term() {
  [[ ${setting[kill]:-} ]] && env -i -- "${host[@]}" "${setting[program]}" kill "${setting[kill]}" >/dev/null 2>&1
}

# end_family: of a job that is over, nothing is to run on.
end_family() {
  local -i until_s=SECONDS+setting[grace_s]
  local -A born=()
  find_family
  ((${#family[@]})) && kill -TERM "${family[@]}" 2>/dev/null
  while ((${#family[@]})); do
    sleep 0.2
    if ((SECONDS >= until_s)); then
      pass_on_term
      kill -KILL "${family[@]}" 2>/dev/null
    fi
    find_family
  done
}

# find_family: set `family` to every process below this one, but the watch. `born` has those that were found before, with
# their times: whose parent has ended meanwhile is found by nothing else.
find_family() {
  local file line pid
  local -i number
  local -a fields
  local -A children=() times=() found=([$$]=yes [$watcher]=yes)
  for file in /proc/[0-9]*/stat; do
    line=''
    { IFS= read -r -d '' line <"$file"; } 2>/dev/null
    # PID (NAME) STATE PARENT ... START: the name may hold anything.
    fields=(${line##*')'})
    [[ ${fields[0]-Z} == [ZX] ]] && continue
    pid=${line%%' '*}
    children[${fields[1]}]+=" $pid"
    times[$pid]=${fields[19]}
  done
  family=($$)
  for pid in "${!born[@]}"; do [[ ${times[$pid]-} == "${born[$pid]}" ]] && found[$pid]=yes family+=("$pid"); done
  for ((number = 0; number < ${#family[@]}; number++)); do
    for pid in ${children[${family[number]}]-}; do
      [[ ${found[$pid]-} ]] || found[$pid]=yes family+=("$pid")
    done
  done
  family=("${family[@]:1}")
  for pid in "${family[@]}"; do born[$pid]=${times[$pid]}; done
}

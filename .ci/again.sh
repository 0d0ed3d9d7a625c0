# Indexes that refuse once are asked again: sourced by the steps that fetch something themselves.

export PIP_RETRIES=${PIP_RETRIES:-8} # as in the Makefile

again() { # again COMMAND...: for Go, which gives up at once
  local wait
  for wait in 5 15 30; do ! "$@" || return 0; sleep $wait; done
  "$@"
}

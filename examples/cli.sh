#!/bin/sh
# The same with the command `pman`, which comes with pman itself: create, poll, log, delete.
#   PMAN_URL=http://127.0.0.1:5010 IMAGE=docker.io/library/busybox:latest sh examples/cli.sh
set -eu
export PMAN_URL="${PMAN_URL:-http://127.0.0.1:5010}"
jid=${JID:-cli-$(date +%s)-$$}
image=${IMAGE:-docker.io/library/busybox:latest}

# $0 is the folder of the results: pman appends it to the arguments.
pman run --jid "$jid" --detach "$image" -- sh -c 'echo working; date > $0/when'
pman logs --follow "$jid"
pman status "$jid"
pman ls --limit 5
pman rm "$jid"

# In one: shows the log as it grows, exits as the job does, and leaves nothing in pman.
pman run --jid "$jid-2" "$image" -- sh -c 'echo done'

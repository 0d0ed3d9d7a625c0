#!/bin/sh
# One job with curl alone: create it, poll it, read its log, delete it.
#   PMAN_URL=http://127.0.0.1:5010 IMAGE=docker.io/library/busybox:latest sh examples/curl.sh
set -eu
api=${PMAN_URL:-http://127.0.0.1:5010}/api/v1
jid=${JID:-curl-$(date +%s)-$$}

# In a JSON string of a record a quote is written \", so this finds the field and never a part of the log.
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

echo "create $jid"
curl -fsS --retry 5 "$api/" -H 'Content-Type: application/json' -d '{
  "jid": "'"$jid"'", "type": "fs", "auid": "me",
  "image": "'"${IMAGE:-docker.io/library/busybox:latest}"'",
  "entrypoint": ["sh", "-c", "echo working; date > $0/when"], "args": [],
  "number_of_workers": 1, "cpu_limit": 1000, "memory_limit": 200, "gpu_limit": 0,
  "input_dir": "'"$jid"'/incoming", "output_dir": "'"$jid"'/outgoing"}' > /dev/null

while :; do
  record=$(curl -fsS --retry 5 "$api/$jid/")
  status=$(printf '%s\n' "$record" | field status)
  echo "status $status"
  case $status in finished* | undefined) break ;; esac
  sleep 1
done
printf '%s\n' "$record"

echo "delete $jid"
curl -fsS --retry 5 -X DELETE "$api/$jid/"
[ "$status" = finishedSuccessfully ]

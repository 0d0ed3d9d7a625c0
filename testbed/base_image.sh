#!/usr/bin/env bash
# Make a base image of Debian and its Python under a name, without an image registry, and load it into an engine:
#   base_image.sh python:3.11-slim-bookworm    and then `FROM python:3.11-slim-bookworm` builds here
# The packages come from the mirror that apt has here. The image takes over this machine's own certificate authorities,
# which a build needs behind a proxy that has one, and the index settings of pip. Settings (environment):
#   DOCKER=docker                        the command that loads it; for Podman $PODMAN_HOME/bin/podman
#   BASE_CACHE=/var/cache/pman-testbed   keeps Debian, so that a second call takes seconds; delete it to start afresh
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testbed/common.sh
. "$HERE/common.sh"
: "${DOCKER:=docker}" "${BASE_CACHE:=/var/cache/pman-testbed}"
TAG=${1:?usage: base_image.sh NAME:TAG}
SUITE=bookworm CONTENT=python3,python3-venv,python3-pip,ca-certificates

packages debootstrap python3

mirror() { # apt's own source for the suite: of its files in one format, then in the other
  awk -v suite=$SUITE 'BEGIN { RS = "" } /(^|\n)Suites:/ {
    uri = ""; fits = 0
    for (n = split($0, line, "\n"); n > 0; n--) {
      if (line[n] ~ /^URIs:/) { split(line[n], word, /[ \t]+/); uri = word[2] }
      if (line[n] ~ /^Suites:/ && (line[n] " ") ~ ("[ \t]" suite "[ \t]")) fits = 1
    }
    if (uri != "" && fits) { print uri; exit } }' /etc/apt/sources.list.d/*.sources 2>/dev/null | grep . ||
  awk -v suite=$SUITE '$1 == "deb" {
    for (i = 2; i < NF; i++) if ($i ~ /^https?:/ && $(i + 1) == suite) { print $i; exit } }' \
    /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | grep .
}

mkdir -p "$BASE_CACHE"
exec 9> "$BASE_CACHE/lock"
flock 9 # one at a time
root=$BASE_CACHE/$(echo "$SUITE $CONTENT" | sha256sum | cut -c1-12) new=$BASE_CACHE/new
if [ ! -e "$root" ]; then
  from=$(mirror) || die "apt has no source for $SUITE"
  say "debootstrap (a minute or two)"
  umount "$new/proc" "$new/sys" 2>/dev/null || true # what a run that was killed has left
  rm -rf --one-file-system "$new"
  debootstrap --variant=minbase --include="$CONTENT" $SUITE "$new" "$from" > "$BASE_CACHE/debootstrap.log" 2>&1 ||
    { tail -20 "$BASE_CACHE/debootstrap.log" >&2; die "debootstrap failed"; }
  # As in the image of that name: a command `python`, a pip that may install into the system, nothing of apt's.
  ln -sf python3 "$new/usr/bin/python"
  rm -f "$new"/usr/lib/python3*/EXTERNALLY-MANAGED
  rm -rf "$new"/var/{cache/apt,lib/apt/lists}/* "$new"/var/log/*.log "$new"/usr/share/{doc,man,locale,info}/*
  rm -rf --one-file-system "${new:?}"/{dev,proc,sys}/*
  : > "$new/etc/resolv.conf"
  mv "$new" "$root"
fi

authorities=usr/local/share/ca-certificates
rm -rf "${root:?}/$authorities"
mkdir -p "$root/$authorities"
[ ! -d /$authorities ] || find /$authorities -name '*.crt' -exec cp -t "$root/$authorities" {} +
chroot "$root" update-ca-certificates --fresh > "$BASE_CACHE/certificates.log" 2>&1 ||
  { tail -5 "$BASE_CACHE/certificates.log" >&2; die "update-ca-certificates failed"; }
rm -rf "${root:?}"/dev/* # the engine has its own; what programs have written to /dev/null is there too

pip=$(python3 -m pip config list 2>/dev/null |
  sed -nE "s/^[^=]*\.((extra-)?index-url|trusted-host)='(.*)'\$/\1 = \3/p") || true # there may be no pip here
printf '[global]\n%s\n' "$pip" > "$root/etc/pip.conf"

archive=$BASE_CACHE/image.tar
trap 'rm -f "$archive"' EXIT
"$HERE/make_image.py" --rootfs "$root" --tag "$TAG" --cmd '["python3"]' --env LANG=C.UTF-8 --out "$archive"
$DOCKER load -q -i "$archive"

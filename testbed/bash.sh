#!/usr/bin/env bash
# Fetch the bash of other releases of Debian, those that apt's mirror has: nodes of a cluster are older or newer than this
# machine, and the tests of the launcher run with every bash that is found. Of an older release it is the usual bash, which
# runs with this machine's libraries; of a newer one the static bash. Settings (environment):
#   BASH_HOME=/var/lib/pman-bash         one file for each version, named by it
#   BASH_SUITES="bullseye trixie sid"    bash 5.1, 5.2 and 5.3; what the mirror has not is passed over
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testbed/common.sh
. "$HERE/common.sh"
: "${BASH_HOME:=/var/lib/pman-bash}" "${BASH_SUITES:=bullseye trixie sid}"

mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main'; }
from=$(mirror | head -1)
[ -n "$from" ] || { _apt update && from=$(mirror | head -1); }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
install -d -m 755 "$BASH_HOME"
for suite in $BASH_SUITES; do
  folder=$work/$suite
  mkdir -p "$folder"/{lists,cache}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main" > "$folder/sources.list"
  apt=(-o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::status=/dev/null
    -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    -o Acquire::IndexTargets::deb::Translations::DefaultEnabled=false -o Acquire::Check-Valid-Until=false)
  if ! (cd "$folder" && _apt "${apt[@]}" update && _apt "${apt[@]}" download bash bash-static) > "$folder/log" 2>&1; then
    say "no bash of $suite: $(tail -1 "$folder/log")"
    continue
  fi
  for package in "$folder"/bash_*.deb "$folder"/bash-static_*.deb; do
    dpkg-deb --extract "$package" "$folder/root"
    found=$(find "$folder/root" -type f -path '*/bin/bash*' ! -name bashbug)
    # What has no HOME looks up its user: a static bash that does not fit dies of it.
    if version=$(env -i "$found" -c ': ~; echo "${BASH_VERSINFO[0]}.${BASH_VERSINFO[1]}.${BASH_VERSINFO[2]}"' 2>/dev/null); then
      install -m 755 "$found" "$BASH_HOME/$version"
      break
    fi
    rm -rf "$folder/root"
  done
done
say "$BASH_HOME: $(ls -x "$BASH_HOME")"

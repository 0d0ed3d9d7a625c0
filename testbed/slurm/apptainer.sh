#!/usr/bin/env bash
# Install Apptainer: the distribution's, if it has one. Debian 12 has none, and that of Debian's development branch needs a newer
# libc for two functions: so that package gets a libc of its own in /opt/apptainer-libc and is packed anew, and
# the machine keeps its libc. What is fetched is held against the checksums of Debian's index; the index itself is believed.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testbed/common.sh
. "$HERE/../common.sh"
LIBC=/opt/apptainer-libc

get() { curl -fsS --retry 5 --retry-all-errors "$@"; }
fetch() { # fetch SUITE PACKAGE: PACKAGE.deb in the working directory
  local path sum
  get "$mirror/dists/$1/main/binary-amd64/Packages.xz" -o Packages.xz
  xzcat Packages.xz |
    awk -v RS= -v name="$2" '$0 ~ "^Package: " name "\n"' > "$2.control"
  path=$(sed -n 's/^Filename: //p' "$2.control") sum=$(sed -n 's/^SHA256: //p' "$2.control")
  get "$mirror/$path" -o "$2.deb"
  echo "$sum  $2.deb" | sha256sum -c --quiet
}

repack() { # in an empty working directory: apptainer-bookworm.deb
  local name file version
  fetch sid apptainer
  fetch trixie libc6
  dpkg-deb -R apptainer.deb new
  dpkg-deb -x libc6.deb libc
  mkdir -p "new$LIBC"
  for name in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libresolv.so.2 libpthread.so.0 libdl.so.2 librt.so.1 \
    libnss_files.so.2 libnss_dns.so.2; do
    cp -L "$(find libc -name $name -print -quit)" "new$LIBC/$name"
  done
  for file in new/usr/bin/apptainer new/usr/lib/x86_64-linux-gnu/apptainer/bin/starter; do
    patchelf --set-interpreter $LIBC/ld-linux-x86-64.so.2 --force-rpath \
      --set-rpath $LIBC:/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu "$file"
  done
  version=$(sed -n 's/^Version: //p' new/DEBIAN/control)
  sed -i "s/^Version: .*/Version: ${version%-*}~bookworm1/; s/libc6 (>= 2.3[0-9])/libc6 (>= 2.36)/" new/DEBIAN/control
  rm -f new/DEBIAN/md5sums
  dpkg-deb -b --root-owner-group -Zgzip -z1 new apptainer-bookworm.deb >/dev/null
}

if ! command -v apptainer >/dev/null; then
  if apt-cache show apptainer >/dev/null 2>&1; then
    packages apptainer
  else
    packages patchelf curl xz-utils squashfs-tools uidmap ca-certificates
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
    mirror=${mirror%/}
    [ -n "$mirror" ] || die "there is no Apptainer for this system"
    say "packing Apptainer anew"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && repack)
    chmod 755 "$work" # apt reads it as another user
    _install "$work/apptainer-bookworm.deb" >/dev/null
  fi
fi
# Where root has not all capabilities, an Apptainer that root runs wants them all and fails.
if [ "$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)" != 000001ffffffffff ]; then
  apptainer config global --set "root default capabilities" file
fi

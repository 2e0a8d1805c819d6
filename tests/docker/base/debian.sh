#!/usr/bin/env bash
# Make a Docker image of plain Debian, without a registry: debian.sh IMAGE [SUITE PACKAGE,...]
# By default with Python and what an image of Python has beside it: it stands for the bases of the
# Dockerfiles in the tests. About a minute and 300 MB.
set -euo pipefail
image=$1
suite=${2:-bookworm}
packages=${3:-python3,python3-venv,python3-pip,libpython3.11,ca-certificates}
mirror=${FACEKIT_DEBIAN_MIRROR:-http://deb.debian.org/debian}

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
if ! debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >"$root.log" 2>&1; then
  tail -n 20 "$root.log" >&2
  printf 'debian.sh: debootstrap failed, see %s.log\n' "$root" >&2
  exit 1
fi
rm -f "$root.log"
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
# Who this machine trusts, so that pip works in a build behind a proxy that looks into TLS.
trusted=/etc/ssl/certs/ca-certificates.crt
if [ -s "$trusted" ]; then mkdir -p "$root/etc/ssl/certs" && cp "$trusted" "$root$trusted"; fi
tar --numeric-owner -C "$root" -c . \
  | docker import --change "ENV PIP_CERT=$trusted" --change 'CMD ["bash"]' - "$image" >/dev/null

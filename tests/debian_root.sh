#!/bin/sh
# Make a small Debian 12 with Python, once, and print where it lies. Needs root; for arm64, qemu's user mode too.
# Usage: tests/debian_root.sh amd64|arm64
set -eu

architecture=$1
root=${EDGETL_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/edgetl-roots}/bookworm-$architecture

lacks() {
  echo "error: $1" >&2
  echo "$2" >&2
  exit 4
}

[ "$(id -u)" = 0 ] || lacks "this needs root, to change its root" "Run it with sudo."
for program in debootstrap unshare; do
  command -v "$program" > /dev/null || lacks "no $program here" "On Debian: apt install debootstrap util-linux"
done

if [ "$architecture" = arm64 ] && [ "$(uname -m)" != aarch64 ]; then
  for program in qemu-aarch64-static update-binfmts; do
    command -v "$program" > /dev/null ||
      lacks "no $program here" "On Debian: apt install qemu-user-static binfmt-support"
  done
  # Containers often come without it.
  [ -e /proc/sys/fs/binfmt_misc/status ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
    lacks "binfmt_misc cannot be mounted" "The kernel must allow it: use a virtual machine or a privileged container."
  [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64 >&2
fi

if [ ! -e "$root" ]; then
  # The mirror that this machine itself uses, if it is a Debian.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 2> /dev/null | head -n 1)
  echo "making a Debian $architecture root in $root: some minutes" >&2
  mkdir -p "$(dirname "$root")"
  # It appears whole or not at all, and nothing that is there already is touched.
  new=$(mktemp -d "$root.XXXXXX")
  chmod 755 "$new"
  debootstrap --arch="$architecture" --variant=minbase --include=python3,python3-venv bookworm "$new" \
    "${mirror:-http://deb.debian.org/debian}" > "$root.log" 2>&1 || lacks "debootstrap failed" "See $root.log"
  mv "$new" "$root"
fi
echo "$root"

#!/bin/sh
# The device package on 64-bit Arm, without a board: a Debian arm64 root whose programs are run by qemu-user.
# Answers and pixels are real; times are not, and the bench must say so. Not for: speed, and not part of make test.
#
# Needs root (binfmt_misc, chroot) and, on Debian: apt install debootstrap qemu-user-static binfmt-support
# Usage: PYTHON=.venv/bin/python tests/arm64/run.sh        results: build/arm64/
set -eu

python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
root=${EDGETL_ARM64_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/edgetl-arm64/bookworm}
out=$repo/build/arm64
golden=$repo/tests/golden

lacks() {
  echo "error: $1" >&2
  echo "$2" >&2
  exit 4
}

[ "$(id -u)" = 0 ] || lacks "this needs root: it registers qemu with the kernel and changes its root" "Run it with sudo."
for program in debootstrap qemu-aarch64-static update-binfmts unshare; do
  command -v "$program" > /dev/null ||
    lacks "no $program here" "On Debian: apt install debootstrap qemu-user-static binfmt-support"
done

# Containers often come without it.
[ -e /proc/sys/fs/binfmt_misc/status ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
  lacks "binfmt_misc cannot be mounted" "The kernel must allow it: use a virtual machine or a privileged container."
[ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64

if [ ! -e "$root/.complete" ]; then
  # The mirror that this machine itself uses, if it is a Debian.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 2> /dev/null | head -n 1)
  echo "making a Debian arm64 root in $root: some minutes" >&2
  rm -rf "$root"
  mkdir -p "$root"
  debootstrap --arch=arm64 --variant=minbase --include=python3,python3-venv bookworm "$root" \
    "${mirror:-http://deb.debian.org/debian}" > "$root.log" 2>&1 || lacks "debootstrap failed" "See $root.log"
  touch "$root/.complete"
fi

# What `edgetl bench --on --offline` would bring to such a board.
rm -rf "$root/opt/edgetl" "$out"
mkdir -p "$root/opt/edgetl/wheels" "$out"
"$python" "$here/wheels.py" "$root/opt/edgetl/wheels"
cp -r "$golden/tiny.edgetl" "$golden/photos" "$root/opt/edgetl/"

# Mounts of a namespace of its own end with it, however this script ends.
there() {
  unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" /usr/bin/env -i \
    PATH=/usr/bin:/bin HOME=/root LC_ALL=C.UTF-8 sh -c "cd /opt/edgetl && $1"' "$root" "$1"
}

there 'python3 -m venv venv && venv/bin/python -m pip --disable-pip-version-check install --quiet --no-index \
  --find-links wheels "$(ls wheels/edgetl_device-*.whl)[onnx]"'
for command in verify classify bench; do
  case $command in
    verify) arguments="tiny.edgetl" ;;
    classify) arguments="tiny.edgetl photos/* --top 3" ;;
    bench) arguments="tiny.edgetl --duration 1" ;;
  esac
  echo "$command, arm64" >&2
  there "venv/bin/python -m edgetl_device $command $arguments" > "$out/$command-arm64.json" 2> "$out/$command-arm64.log" ||
    lacks "$command failed on arm64" "See $out/$command-arm64.log"
  echo "$command, here" >&2
  (cd "$golden" && eval "exec \"\$python\" -m edgetl_device $command $arguments") \
    > "$out/$command-here.json" 2> "$out/$command-here.log" ||
    lacks "$command failed here" "See $out/$command-here.log"
done
"$python" "$here/compare.py" "$out"

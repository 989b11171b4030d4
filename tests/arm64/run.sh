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
out=$repo/build/arm64
golden=$repo/tests/golden

lacks() {
  echo "error: $1" >&2
  echo "$2" >&2
  exit 4
}

root=$("$here/../debian_root.sh" arm64)

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

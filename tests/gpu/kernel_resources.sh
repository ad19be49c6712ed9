#!/usr/bin/env bash
# Compiles every CUDA source for the architectures of the project and prints what its kernels take of a
# multiprocessor, a line for each: registers, bytes of static shared memory. Fails where a kernel's registers spill
# into memory, and on the compiler's warnings.
#
#   tests/gpu/kernel_resources.sh [FILE.cu..]     default: all
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
files=("$@")
[ $# -gt 0 ] || mapfile -t files < <(git ls-files '*.cu')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() { # compile FILE ARCHITECTURE
  nvcc -std=c++20 -O3 -I. -c "$1" -o /dev/null -Werror all-warnings -Xptxas -v \
    -gencode "arch=compute_$2,code=sm_$2" >"$work/$2.$(basename "$1").txt" 2>&1 ||
    { cat "$work/$2.$(basename "$1").txt" >&2; return 1; }
}
export -f compile
export work
for file in "${files[@]}"; do printf '%s\n' "$file 80" "$file 90" "$file 100"; done |
  xargs -P "$(nproc)" -L 1 bash -c 'compile "$0" "$1"'

printf '%-9s %9s %7s %7s  %s\n' registers 'shared B' stack spills 'kernel (source, architecture)'
cat "$work"/*.txt | c++filt | awk '
  /Compiling entry function/ { arch = $NF; gsub(/\x27/, "", arch); name = $0
    sub(/.*entry function \x27/, "", name); sub(/\x27 for .*/, "", name); sub(/^void /, "", name) }
  /bytes stack frame/ { stack = $1; spills = $5 + $9 }
  /Used [0-9]+ registers/ {
    match($0, /[0-9]+ registers/); registers = substr($0, RSTART, RLENGTH) + 0
    shared = 0; if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH) + 0
    gsub(/\([^()]*\)$/, "", name); gsub(/cosdt::[a-z]+::kernels::|\(anonymous namespace\)::/, "", name)
    printf "%-9d %9d %7d %7d  %s (%s)\n", registers, shared, stack, spills, name, arch
    if (spills > 0) failed = 1 }
  END { if (failed) { print "kernel_resources.sh: expected no spills, found some" > "/dev/stderr"; exit 1 } }' | sort -k5

#!/usr/bin/env bash
# Compiles every CUDA source for the architectures of the project and prints what its kernels take of a
# multiprocessor: registers, bytes of static shared memory. Fails if a kernel's registers spill
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

# a line for a kernel: registers a thread for each architecture, the most shared memory, all spills
cat "$work"/*.txt | c++filt | awk -v architectures="80 90 100" '
  /Compiling entry function/ {
    architecture = $NF; gsub(/[^0-9]/, "", architecture)
    name = $0; sub(/.*entry function \x27/, "", name); sub(/\x27 for .*/, "", name); sub(/^void /, "", name)
    sub(/\([^()]*\)$/, "", name); gsub(/cosdt::[a-z]+::(kernels::)?|\(anonymous namespace\)::|cuda::/, "", name) }
  /bytes stack frame/ { spills[name] += $5 + $9 }
  /Used [0-9]+ registers/ {
    match($0, /[0-9]+ registers/); registers[name, architecture] = substr($0, RSTART, RLENGTH) + 0
    bytes = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH) + 0 : 0
    if (bytes >= shared[name]) shared[name] = bytes }
  END {
    count = split(architectures, list, " ")
    print "registers sm_80 sm_90 sm_100, static shared bytes, spilled bytes, kernel"
    for (name in shared) {
      line = ""
      for (i = 1; i <= count; ++i) line = line sprintf("%4d", registers[name, list[i]])
      printf "%s %6d %4d  %s\n", line, shared[name], spills[name], name | "sort -k6"
      if (spills[name] > 0) failed = 1 }
    close("sort -k6")
    if (failed) { print "kernel_resources.sh: expected no spills, found some" > "/dev/stderr"; exit 1 } }'

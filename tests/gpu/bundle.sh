#!/usr/bin/env bash
# Packs what tests/gpu/check.sh runs on a machine with a GPU into build/gpu-bundle.tar.xz: the programs of a
# build, stripped, with the libraries that the machine may lack, the scripts, and a rival's wheel.
# LibTorch is not in it: the machine's own is used (see check.sh).
#
#   tests/gpu/bundle.sh [BUILD_DIR]     default build/release
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=${1:-build/release}
archive=build/gpu-bundle.tar.xz
limit=40000000  # bytes

[ -x "$build/bin/cosdt" ] || { echo "bundle.sh: $build/bin/cosdt: expected a built program, found none" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bundle=$work/gpu-bundle
mkdir -p "$bundle"/{bin,lib,wheels}

for program in cosdt cosdt_attention_test cosdt_agents_test cosdt_cuda_kernels_test; do
  if [ -x "$build/bin/$program" ]; then
    strip -o "$bundle/bin/$program" "$build/bin/$program"
  else
    echo "bundle.sh: left out, as $build has none: $program"
  fi
done

# all but the C library, the compiler's, LibTorch's and CUDA's
system='^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|nsl|gcc_s|stdc\+\+|gomp)|lib(torch|c10|cu|nv|nccl).*)\.so'
ldd "$bundle"/bin/* | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | while read -r library; do
  grep -Eq "$system" <<<"$(basename "$library")" || cp -L "$library" "$bundle/lib/"
done
strip --strip-unneeded "$bundle"/lib/*

cp tests/gpu/check.sh tests/gpu/*.py "$bundle/"
# a pure Python wheel: any machine's pip gets it
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --require-hashes -r tests/gpu/wheels.txt -d "$bundle/wheels" ||
  echo "bundle.sh: left out, as pip did not get it: $(sed -n 's/==.*//p' tests/gpu/wheels.txt)"
{
  "$bundle/bin/cosdt" --version 2>/dev/null || true # a CUDA program starts only if CUDA's libraries are there
  echo "commit $(git rev-parse HEAD 2>/dev/null || echo unknown)$(git diff --quiet HEAD 2>/dev/null || echo ', changed')"
} >"$bundle/version.txt"

tar -C "$work" -c gpu-bundle | xz -3 -T0 >"$work/archive"
mv "$work/archive" "$archive"
size=$(stat -c %s "$archive")
echo "$archive: $size bytes, $(find "$bundle/lib" -type f | wc -l) libraries"
[ "$size" -le "$limit" ] || { echo "bundle.sh: expected at most $limit bytes, found $size" >&2; exit 1; }

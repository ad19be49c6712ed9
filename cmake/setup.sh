#!/usr/bin/env bash
# Brings what the build needs: system packages (cmake/packages.txt) and the pinned LibTorch and
# MuJoCo (cmake/wheels.txt). A second run finds everything in place and does nothing.
#
#   cmake/setup.sh            packages, LibTorch, MuJoCo
#   cmake/setup.sh format     the pinned clang-format alone
#
# COSDT_DEPS         folder for LibTorch and MuJoCo (default: .deps beside this repository's files)
# COSDT_CUDA=ON      LibTorch with its CUDA libraries (4.6 GB); AUTO (default) takes it where nvcc
#                    and a device are present
# COSDT_PACKAGES=provided   the packages are there already (conda, modules): do not look for them
# CMAKE_PREFIX_PATH  a LibTorch or MuJoCo found there is used, and not downloaded
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
deps=${COSDT_DEPS:-$(dirname "$here")/.deps}
python=3.12  # the wheels are chosen for this Python whatever the machine's: only libraries are taken

fail() {  # fail STEP NEEDED REMEDY
  echo "set-up: $1 failed: needed $2; $3" >&2
  exit 1
}

missing_packages() {
  local package
  sed 's/#.*//' "$here/packages.txt" | while read -r package; do
    [ -z "$package" ] && continue
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || echo "$package"
  done
}

install_packages() {
  [ "${COSDT_PACKAGES:-}" = provided ] && return
  local names
  names=$(sed 's/ *#.*//' "$here/packages.txt" | xargs)
  command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
    fail "system packages" "the equivalents of: $names" \
      "install them and set COSDT_PACKAGES=provided (README.md, Machines without root)"
  names=$(missing_packages | xargs)
  [ -z "$names" ] && return
  echo "set-up: installing $names"
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "system packages" "$names" \
      "have them installed, or set COSDT_PACKAGES=provided where they come from elsewhere"
    root=(sudo)
  fi
  # shellcheck disable=SC2086
  { "${root[@]}" apt-get update -q &&
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $names
  } || fail "system packages" "$names" "see apt-get's message above"
}

# on_prefix_path FILE..: whether a folder of CMAKE_PREFIX_PATH holds one of the files
on_prefix_path() {
  local folder file
  local IFS=':;'
  for folder in ${CMAKE_PREFIX_PATH:-}; do
    for file in "$@"; do [ -e "$folder/$file" ] && return; done
  done
  return 1
}

wants_cuda() {
  case ${COSDT_CUDA:-AUTO} in
    ON) return 0 ;;
    OFF) return 1 ;;
    AUTO) command -v nvcc >/dev/null && nvidia-smi -L >/dev/null 2>&1 ;;
    *) fail "reading COSDT_CUDA" "AUTO, ON or OFF (found $COSDT_CUDA)" "set it to one of them" ;;
  esac
}

# unpack FOLDER REQUIREMENTS_FILE NAME..: downloads the wheels named, checks their hashes and unpacks
# them as $deps/FOLDER, which appears only when it is complete.
unpack() {
  local folder=$1 file=$2
  shift 2
  [ -d "$deps/$folder" ] && return
  mkdir -p "$deps"
  # one at a time; what another run has brought meanwhile is there, what one left half-done is not
  exec 9>"$deps/lock"
  flock 9
  [ -d "$deps/$folder" ] && return
  echo "set-up: downloading $folder"
  local work=$deps/partial
  rm -rf "$work"
  mkdir "$work"
  python3 -m pip --version >/dev/null 2>&1 ||
    fail "downloading $folder" "pip for python3" "install it (python3-pip on Debian and Ubuntu)"
  local platforms=() glibc name
  for glibc in $(seq 5 28); do platforms+=(--platform "manylinux_2_${glibc}_$(uname -m)"); done
  platforms+=(--platform "manylinux2014_$(uname -m)" --platform "linux_$(uname -m)")
  # the named requirements with their hash lines, or all of the file
  : >"$work/wanted.txt"
  if [ $# -eq 0 ]; then cp "$file" "$work/wanted.txt"; fi
  for name in "$@"; do
    sed -n "/^$name==/,/[^\\\\]\$/p" "$file" >>"$work/wanted.txt"
  done
  TMPDIR=$work python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
    --only-binary=:all: --python-version "$python" "${platforms[@]}" --require-hashes \
    -r "$work/wanted.txt" -d "$work/wheels" ||
    fail "downloading $folder" "the wheels in ${file##*/} for $(uname -m) and 2 GB in $deps" \
      "check the network and the disk, then run again"
  python3 - "$work" <<'PYTHON' || fail "unpacking $folder" "2 GB in $deps" "free some space and run again"
import pathlib, re, sys, zipfile
work = pathlib.Path(sys.argv[1])
wheels = list((work / "wheels").iterdir())
# only what C++ programs use; torch's CUDA half is as large as all the rest
wanted = r"torch/(include|lib)/|nvidia/|mujoco/(include/|libmujoco)|clang_format/"
unwanted = r".*libtorch_python"
if not any("cudnn" in wheel.name for wheel in wheels):
    unwanted += r"|torch/lib/lib(torch_cuda|c10_cuda|torch_nvshmem|caffe2_nvrtc)"
for wheel in wheels:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if re.match(wanted, name) and not re.match(unwanted, name):
                archive.extract(name, work / "site")
    wheel.unlink()
library = list((work / "site").glob("mujoco/libmujoco.so.*"))
if library:
    # the layout of MuJoCo's own releases
    (work / "site/mujoco/lib").mkdir()
    library[0].rename(work / "site/mujoco/lib" / library[0].name)
    (work / "site/mujoco/lib/libmujoco.so").symlink_to(library[0].name)
PYTHON
  mv -T "$work/site" "$deps/$folder"
  rm -rf "$work"
}

version_of() { sed -n "s/^$1==\([0-9.]*\).*/\1/p" "$here/wheels.txt"; }

if [ "${1:-}" = format ]; then
  unpack "clang-format-$(version_of clang-format)" "$here/wheels.txt" clang-format
  chmod +x "$deps/clang-format-$(version_of clang-format)/clang_format/data/bin/clang-format"
  exit
fi

install_packages
on_prefix_path lib/libmujoco.so lib64/libmujoco.so ||
  unpack "mujoco-$(version_of mujoco)" "$here/wheels.txt" mujoco
if ! on_prefix_path lib/libtorch_cpu.so lib64/libtorch_cpu.so; then
  if wants_cuda; then
    unpack "torch-$(version_of torch)-cuda" "$here/wheels-cuda.txt"
  else
    unpack "torch-$(version_of torch)-cpu" "$here/wheels.txt" torch nvidia-cuda-runtime nvidia-cuda-cupti
  fi
fi

#!/usr/bin/env bash
# Installs what the build needs: system packages (cmake/packages.txt) and the pinned LibTorch and
# MuJoCo (cmake/wheels.txt). A second run finds everything in place and does nothing.
#
#   cmake/setup.sh            packages, LibTorch, MuJoCo
#   cmake/setup.sh format     the pinned clang-format alone
#   cmake/setup.sh stand-ins FOLDER   for the CPU: what the Python package torch in FOLDER lacks of CUDA if it was
#                             installed without its dependencies
#
# COSDT_DEPS         folder for LibTorch and MuJoCo (default: .deps in this repository)
# COSDT_CUDA=ON      LibTorch's CUDA half too, with the libraries that it needs and the CUDA compiler
#                    (4.8 GB); AUTO (default) takes them if nvidia-smi finds a device
# COSDT_CUDA_LIBRARIES=link   only what a CUDA program is linked with (0.5 GB): it is built here with
#                    the machine's own nvcc, uses the CPU here, and a GPU on a machine that has the rest
# COSDT_PACKAGES=provided   the packages are already installed (conda, modules): do not look for them
# CMAKE_PREFIX_PATH  a LibTorch or MuJoCo found there is used, and not downloaded
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
deps=${COSDT_DEPS:-$(dirname "$here")/.deps}
python=3.12  # the wheels are for this Python on any machine: only libraries are taken

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
      "install them and set COSDT_PACKAGES=provided (cmake/README.md, Machines without root)"
  names=$(missing_packages | xargs)
  [ -z "$names" ] && return
  echo "set-up: installing $names"
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "system packages" "$names" \
      "have them installed, or set COSDT_PACKAGES=provided if they come from elsewhere"
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
    AUTO) nvidia-smi -L >/dev/null 2>&1 ;;
    *) fail "reading COSDT_CUDA" "AUTO, ON or OFF (found $COSDT_CUDA)" "set it to one of them" ;;
  esac
}

# prints the named folders that $deps lacks
missing_folders() {
  local folder
  for folder in "$@"; do [ -d "$deps/$folder" ] || echo "$folder"; done
}

# unpack FOLDERS REQUIREMENTS_FILE NAME..: downloads the wheels named (or all of the file), checks
# their hashes and unpacks them as $deps/FOLDER, which appears only when it is complete. A download
# serves several folders, each of which takes its part of the wheels.
unpack() {
  local folders=$1 file=$2
  shift 2
  # shellcheck disable=SC2086
  [ -z "$(missing_folders $folders)" ] && return
  mkdir -p "$deps"
  # one at a time; another run may have finished these folders meanwhile
  exec 9>"$deps/lock"
  flock 9
  # shellcheck disable=SC2086
  folders=$(missing_folders $folders | xargs)
  [ -z "$folders" ] && return
  echo "set-up: downloading $folders"
  local work=$deps/partial
  rm -rf "$work"
  mkdir "$work"
  python3 -m pip --version >/dev/null 2>&1 ||
    fail "downloading $folders" "pip for python3" "install it (python3-pip on Debian and Ubuntu)"
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
    fail "downloading $folders" "the wheels in ${file##*/} for $(uname -m) and room in $deps (2 GB, 12 GB for CUDA)" \
      "check the network and the disk, then run again"
  # shellcheck disable=SC2086
  python3 - "$work" $folders <<'PYTHON' || fail "unpacking $folders" "room in $deps (2 GB, 12 GB for CUDA)" "free some and run again"
import pathlib, re, sys, zipfile
work = pathlib.Path(sys.argv[1])
# only what C++ programs use; a folder takes the first rule that fits its name
cuda_half = r"torch/lib/lib(torch_cuda|c10_cuda|torch_nvshmem|caffe2_nvrtc)"
rules = [
    (r"torch-.*-cpu", rf"(?!{cuda_half}|torch/lib/libtorch_python)torch/(include|lib)/|nvidia/.*lib(cudart|cupti)\.so"),
    (r"torch-.*-cuda-link", r"torch/lib/lib(torch|c10)_cuda\.so"),
    (r"torch-.*-cuda", rf"{cuda_half}|nvidia/"),
    (r"mujoco-", r"mujoco/(include/|libmujoco)"),
    (r"clang-format-", r"clang_format/"),
]
folders = {name: re.compile(next(wanted for folder, wanted in rules if re.match(folder, name))) for name in sys.argv[2:]}
for wheel in (work / "wheels").iterdir():
    with zipfile.ZipFile(wheel) as archive:
        for file in archive.infolist():
            for folder, wanted in folders.items():
                if wanted.match(file.filename):
                    path = pathlib.Path(archive.extract(file, work / folder))
                    if file.external_attr >> 16 & 0o100:  # a program of the CUDA compiler
                        path.chmod(0o755)
    wheel.unlink()
for library in work.glob("mujoco-*/mujoco/libmujoco.so.*"):
    # the layout of MuJoCo's own releases
    (library.parent / "lib").mkdir()
    library.rename(library.parent / "lib" / library.name)
    (library.parent / "lib/libmujoco.so").symlink_to(library.name)
for toolkit in work.glob("torch-*-cuda/nvidia/cu*"):
    # the layout of the CUDA toolkit's own releases, which CMake expects
    (toolkit / "lib64").symlink_to("lib")
    for library in (toolkit / "lib").glob("*.so.*"):
        link = library.with_name(library.name.split(".so.")[0] + ".so")
        if not link.exists():
            link.symlink_to(library.name)
PYTHON
  local folder
  for folder in $folders; do
    case $folder in *-cuda-link) stand_ins "$work/$folder/torch/lib" ;; esac
  done
  for folder in $folders; do mv -T "$work/$folder" "$deps/$folder"; done
  rm -rf "$work"
}

# stand_ins FOLDER: empty libraries in place of those that LibTorch's CUDA half in FOLDER needs, by which
# a CUDA program starts on a machine that has none of them, and computes on its CPU.
stand_ins() {
  local name
  readelf -d "$1"/lib*.so | grep -o '\[lib\(cu\|nccl\|nvshmem\|torch_nvshmem\)[^]]*' | tr -d '[' | sort -u |
    while read -r name; do
      case ${name%%.*} in libcudart | libcupti) continue ;; esac # which the CPU half has
      [ -e "$1/$name" ] ||
        cc -shared -nostdlib -x c /dev/null -o "$1/$name" -Wl,-soname,"$name" \
          -Wl,--version-script,/dev/stdin <<<"$name { }; NVSHMEM { };"
    done || fail "making stand-ins in $1" "a C compiler and readelf" "install them (g++, binutils)"
}

version_of() { sed -n "s/^$1==\([0-9.]*\).*/\1/p" "$here/wheels.txt"; }

if [ "${1:-}" = format ]; then
  unpack "clang-format-$(version_of clang-format)" "$here/wheels.txt" clang-format
  chmod +x "$deps/clang-format-$(version_of clang-format)/clang_format/data/bin/clang-format"
  exit
fi

if [ "${1:-}" = stand-ins ]; then
  stand_ins "$2/lib"
  exit
fi

install_packages
on_prefix_path lib/libmujoco.so lib64/libmujoco.so ||
  unpack "mujoco-$(version_of mujoco)" "$here/wheels.txt" mujoco
torch=torch-$(version_of torch)
cuda=none
if wants_cuda; then
  cuda=${COSDT_CUDA_LIBRARIES:-all}
  case $cuda in
    all | link) ;;
    *) fail "reading COSDT_CUDA_LIBRARIES" "all or link (found $cuda)" "set it to one of them" ;;
  esac
fi
if on_prefix_path lib/libtorch_cpu.so lib64/libtorch_cpu.so; then
  [ $cuda = none ] || cuda=own
else
  case $cuda in
    all) unpack "$torch-cpu $torch-cuda" "$here/wheels-cuda.txt" ;;
    link) unpack "$torch-cpu $torch-cuda-link" "$here/wheels.txt" torch nvidia-cuda-runtime nvidia-cuda-cupti ;;
    none) unpack "$torch-cpu" "$here/wheels.txt" torch nvidia-cuda-runtime nvidia-cuda-cupti ;;
  esac
fi
case $cuda-${COSDT_CUDA:-AUTO} in
  own-ON | link-*)
    command -v "${CUDACXX:-nvcc}" >/dev/null ||
      fail "looking for nvcc" "the CUDA toolkit, version 13.0" "install it and add its bin folder to PATH"
    ;;
esac

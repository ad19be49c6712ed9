#!/usr/bin/env bash
# Sets up, builds build/release and runs the default test set.
#
#   tests/run.sh              tests that need no GPU and take seconds
#   tests/run.sh --all        the slow ones too
#   tests/run.sh --preset P   another preset than release
#
# Further arguments go to CMake's configure step (-DCOSDT_WERROR=ON).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=release
all=
configure=()
while [ $# -gt 0 ]; do
  case $1 in
    --all) all=1 ;;
    --preset)
      [ $# -gt 1 ] || { echo "tests/run.sh: --preset needs a name (see --help)" >&2; exit 2; }
      preset=$2
      shift
      ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    # the set-up must know of these two as well
    -DCOSDT_CUDA=*) export COSDT_CUDA=${1#*=} && configure+=("$1") ;;
    -DCMAKE_PREFIX_PATH=*) export CMAKE_PREFIX_PATH=${1#*=} ;;
    -*) configure+=("$1") ;;
    *) echo "tests/run.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done
if [ "$preset" = cuda ]; then export COSDT_CUDA=ON; fi
leave_out=nothing
[ -n "$all" ] || leave_out+="|slow"
nvidia-smi -L >/dev/null 2>&1 || leave_out+="|gpu"

step() {  # step NAME REMEDY COMMAND..: runs the command and says what to do when it fails
  local name=$1 remedy=$2 start=$SECONDS
  shift 2
  echo "== $name"
  "$@" || { echo "tests/run.sh: $name failed; $remedy" >&2; exit 1; }
  echo "== $name took $((SECONDS - start)) s"
}

step "set-up" "see the message above" cmake/setup.sh
step "configure" "see CMake's message above; 'rm -rf build/$preset' starts afresh" \
  cmake --preset "$preset" "${configure[@]}"
step "build" "see the compiler's message above" cmake --build --preset "$preset"
# nproc takes OMP_NUM_THREADS for the number of processors
processors=$(env -u OMP_NUM_THREADS nproc)
# spinning OpenMP threads of tests that run side by side would slow each other down tenfold
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
step "test" "build/$preset/Testing/Temporary/LastTest.log has the details" \
  ctest --test-dir "build/$preset" --output-on-failure --parallel "$processors" -LE "^($leave_out)$"

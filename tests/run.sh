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
leave_out=(-LE 'slow|gpu')
configure=()
while [ $# -gt 0 ]; do
  case $1 in
    --all) leave_out=(-LE gpu) ;;
    --preset) preset=$2; shift ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
    -*) configure+=("$1") ;;
    *) echo "tests/run.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
  leave_out=("${leave_out[@]/slow|gpu/slow}")
fi

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
# spinning OpenMP threads of tests that run side by side would slow each other down tenfold
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
step "test" "build/$preset/Testing/Temporary/LastTest.log has the details" \
  ctest --test-dir "build/$preset" --output-on-failure --parallel "$(nproc)" "${leave_out[@]}"

#!/usr/bin/env bash
# Builds the Python package, installs it in a fresh environment and runs its tests.
#
#   tests/python/run.sh [pytest's arguments]
#
# PYTHON   the interpreter (default: python3, 3.10 or newer)
#
# torch comes without CUDA's libraries, with empty ones in their place: it computes on the CPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=$PWD/build/python-tests
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
pinned() { sed -n "s/^\($1==[0-9.]*\).*/\1/p" cmake/wheels.txt; }
"${pip[@]}" --no-deps "$(pinned torch)" "$(pinned nvidia-cuda-runtime)" "$(pinned nvidia-cuda-cupti)" "$(pinned mujoco)" \
  -r tests/python/requirements.txt
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
cmake/setup.sh stand-ins "$site/torch"
# the stand-ins have no functions: these are looked up when they are called
echo 'import os, sys; sys.setdlopenflags(os.RTLD_LAZY)' >"$site/stand_ins.pth"

"${pip[@]}" --no-deps .
export PATH="$venv/bin:$PATH" OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
"$venv/bin/python" -m pytest -q "$@"

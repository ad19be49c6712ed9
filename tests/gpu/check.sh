#!/usr/bin/env bash
# Is this machine's GPU fine, and how fast is cosdt on it? Runs the bundle that bundle.sh made against
# the machine's own LibTorch 2.11: that of python3's torch.
#
#   tests/gpu/check.sh [PART..]     all parts in this order, or those named:
#     machine ceilings kernels sanitizer tests attention sdpa train exact processes rivals profile update fla
#
# COSDT_BUNDLE     the archive (default build/gpu-bundle.tar.xz); check.sh of an unpacked one runs that
# COSDT_PYTHON     the Python (default python3)
# COSDT_LIBTORCH   folders of LibTorch's libraries and CUDA's, a:b:.., in place of that Python's
# COSDT_SECONDS    for all parts together (default 420): what no time is left for is left out
# OUT              folder for summary.txt and log.txt (default gpu-check)
#
# Where there is no GPU, what needs one says so and the rest runs on the CPU, shortly.
set -uo pipefail
self=$(readlink -f "${BASH_SOURCE[0]}")
here=$(dirname "$self")
order=(machine ceilings kernels sanitizer tests attention sdpa train exact processes rivals profile update fla)
declare -A limits=([machine]=25 [ceilings]=30 [kernels]=30 [sanitizer]=60 [tests]=75 [attention]=60 [sdpa]=60
  [train]=60 [exact]=45 [processes]=45 [rivals]=75 [profile]=60 [update]=45 [fla]=60)
# of the summary, which has 10,000 at most; log.txt has all
declare -A part_characters=([machine]=700 [ceilings]=300 [kernels]=600 [sanitizer]=700 [tests]=900 [attention]=2000
  [sdpa]=1500 [train]=800 [exact]=300 [processes]=400 [rivals]=600 [profile]=1500 [fla]=500)

# --- what a part uses -------------------------------------------------------------------------------
# only for our programs: python has libraries of its own
ours() { env LD_LIBRARY_PATH="$check_libraries" "$@"; }
on_gpu() { [ "$check_device" = cuda ]; }
logged() { tee -a "$out/log.txt"; }
quietly() { "$@" >>"$out/log.txt" 2>&1; }
with_torch() { [ -n "$check_torch" ]; }
last() { tail -n "$1" | cut -c 1-160; }

part_machine() {
  if on_gpu; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.memory --format=csv,noheader
  else
    echo "no GPU: nvidia-smi finds none"
  fi
  with_torch && echo "torch $check_torch of $(command -v "$python")"
  echo "libraries: ${check_libraries#*:}" >>"$out/log.txt"
  local program
  for program in bin/*; do
    ours ldd "$program" 2>&1 | awk -v p="$program" '/not found/ { print p ": " $0 }'
  done
  sed 's/^/built with: /' version.txt | paste -sd ' ' | sed 's/ built with: /, /g'
  ours bin/cosdt --version | paste -sd , || echo "cosdt does not start"
}

part_ceilings() {
  on_gpu || { echo "needs a GPU: left out"; return; }
  with_torch || { echo "needs PyTorch: left out"; return; }
  "$python" ceilings.py 2>>"$out/log.txt" | logged
}

# googletest's failures and its last lines
test_results() {
  grep -E '^\[ +(FAILED|PASSED|SKIPPED) +\]|Failure$|worst|error' "$1" | sort -u | grep -Ev 'listed below|[^.]* [(][0-9]+ ms[)]$' | head -n "$2" |
    cut -c 1-200
}

part_kernels() {
  [ -x bin/cosdt_cuda_kernels_test ] || { echo "not in this bundle: left out"; return; }
  ours bin/cosdt_cuda_kernels_test >"$work/kernels.txt" 2>&1
  local code=$?
  cat "$work/kernels.txt" >>"$out/log.txt"
  test_results "$work/kernels.txt" 30
  echo "exit code $code"
}

part_sanitizer() {
  on_gpu || { echo "needs a GPU: left out"; return; }
  [ -x bin/cosdt_cuda_kernels_test ] || { echo "not in this bundle: left out"; return; }
  command -v compute-sanitizer >/dev/null || { echo "needs compute-sanitizer of the CUDA toolkit: left out"; return; }
  local tool
  for tool in memcheck racecheck initcheck synccheck; do # side by side
    ours timeout 50 compute-sanitizer --tool $tool --error-exitcode 9 --print-limit 5 \
      bin/cosdt_cuda_kernels_test --gtest_brief=1 --gtest_filter='*Small*' >"$work/$tool.txt" 2>&1 &
  done
  wait
  for tool in memcheck racecheck initcheck synccheck; do
    cat "$work/$tool.txt" >>"$out/log.txt"
    echo "$tool: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$work/$tool.txt" | last 1 || true)" \
      "$(grep -E '^\[ +(PASSED|FAILED) +\]' "$work/$tool.txt" | head -n 1)"
    grep -E '=+ (Invalid|Error|Race|Uninit|Barrier|Warning)' "$work/$tool.txt" | sort | uniq -c | head -n 3 | cut -c 1-160
  done
}

part_tests() {
  local name
  for name in attention agents; do
    [ -x bin/cosdt_${name}_test ] || continue
    ours env OMP_NUM_THREADS="$(nproc)" timeout 70 bin/cosdt_${name}_test --gtest_filter='*_CUDA*' >"$work/$name.txt" 2>&1 &
  done
  wait
  for name in attention agents; do
    [ -f "$work/$name.txt" ] || { echo "cosdt_${name}_test: not in this bundle"; continue; }
    cat "$work/$name.txt" >>"$out/log.txt"
    echo "cosdt_${name}_test: $(grep -E '^\[=+\].*ran' "$work/$name.txt" || echo 'did not end')"
    test_results "$work/$name.txt" 14
    grep -A 4 ': Failure$' "$work/$name.txt" | head -n 12 | cut -c 1-160
  done
}

part_attention() {
  local arguments=()
  on_gpu || arguments=(--repeats 1 --lengths 60 --no-compare)
  ours bin/cosdt bench attention --device "$check_device" "${arguments[@]}" 2>>"$out/log.txt" | logged | last 45
}

part_sdpa() {
  on_gpu && with_torch || { echo "needs a GPU and PyTorch: left out"; return; }
  "$python" sdpa.py 2>>"$out/log.txt" | logged
}

# train NAME UPDATES ARGUMENT..: one run in $work/NAME, its report in $work/NAME.json
train() {
  local name=$1 updates=$2
  shift 2
  ours env OMP_NUM_THREADS=1 bin/cosdt train --dataset demo/hopper-medium --data-dir "$work/data" --out "$work/$name" --device "$check_device" \
    --threads 1 --seed 0 --updates "$updates" --json "$@" >"$work/$name.json" 2>>"$out/log.txt"
}

part_train() {
  local precision context updates form batch=64
  local forms=("fp32 20 3000" "tf32 20 3000" "bf16 20 3000" "bf16 100 300" "fp32 1000 40" "bf16 1000 40")
  on_gpu || { batch=8 forms=("fp32 20 20" "bf16 20 20"); }
  for form in "${forms[@]}"; do
    read -r precision context updates <<<"$form"
    rm -rf "$work/run"
    printf '%-5s K %-5s batch %s: ' "$precision" "$context" $batch
    if train run "$updates" --precision "$precision" --context "$context" --batch-size $batch --save-every 100000; then
      cat "$work/run.json" >>"$out/log.txt"
      "$python" - "$work/run.json" "$work/run" <<'PYTHON'
import json, pathlib, statistics, sys
report = json.load(open(sys.argv[1]))
lines = [json.loads(line) for line in (pathlib.Path(sys.argv[2]) / "metrics.jsonl").read_text().splitlines()]
rates = [line["updates_per_second"] for line in lines if line.get("updates_per_second")]
rate = statistics.median(rates[len(rates) // 2:]) if len(rates) > 1 else report["updates_per_second"]
memory = report.get("peak_device_memory")
print(f"{rate:9.1f} updates/s {1000 / rate:8.3f} ms, peak {memory / 1e6 if memory else 0:8.0f} MB, loss {report['loss']:.5f}",
      *(f"{name} {report[name]}" for name in ("update_path", "attention_path") if name in report))
PYTHON
    else
      echo "failed: $(last 1 <"$out/log.txt")"
    fi
  done
  grep -h '^cosdt: ' "$out/log.txt" | sort -u | head -n 6 | cut -c 1-200 # what the kernels' own check says
  return 0
}

part_exact() {
  local updates=2000 code
  on_gpu || updates=24 # a slow machine's
  rm -rf "$work"/run-{straight,killed,gpu,cpu}
  train run-straight "$updates" --save-every 100000 || { echo "training failed: $(last 1 <"$out/log.txt")"; return; }
  # killed once it has saved, then resumed
  train run-killed "$updates" --save-every $((updates / 4)) &
  local run=$!
  while kill -0 $run 2>/dev/null && [ ! -f "$work/run-killed/resume.safetensors" ]; do sleep 0.02; done
  pkill -KILL -P $run 2>/dev/null || true
  wait $run
  code=$?
  train run-killed "$updates" --save-every $((updates / 4)) --resume || echo "resuming failed: $(last 1 <"$out/log.txt")"
  "$python" compare_weights.py "killed (exit code $code) and resumed against straight" \
    "$work/run-straight/last.safetensors" "$work/run-killed/last.safetensors"
  if on_gpu; then
    train run-gpu 30 && check_device=cpu train run-cpu 30 &&
      "$python" compare_weights.py "30 updates on the GPU against the CPU" "$work/run-gpu/last.safetensors" "$work/run-cpu/last.safetensors"
  fi
}

# A group of one process against none, which must be the same bits; two processes, on two GPUs or on the CPU, against one.
part_processes() {
  local updates=1000 count=2 size=()
  if on_gpu; then
    count=$(nvidia-smi -L | wc -l)
  else
    updates=6 size=(--batch-size 8) # a slow machine's
  fi
  if [ -x bin/cosdt_agents_test ]; then
    ours timeout 20 bin/cosdt_agents_test --gtest_filter='ProcessesTest.*_CUDA' >"$work/processes.txt" 2>&1
    cat "$work/processes.txt" >>"$out/log.txt"
    test_results "$work/processes.txt" 5
  fi
  [ "$count" -ge 2 ] || { echo "needs two GPUs: two processes are left out"; return; }
  rm -rf "$work"/run-{one,two}
  if ! train run-one "$updates" "${size[@]}" || ! train run-two "$updates" "${size[@]}" --processes 2; then
    echo "training failed: $(last 1 <"$out/log.txt")"
    return
  fi
  "$python" - "$work"/run-{one,two}.json <<'PYTHON'
import json, sys
one, two = (json.load(open(path)) for path in sys.argv[1:])
close = abs(one["loss"] - two["loss"]) < 1e-3 * one["loss"]
print(f"two processes against one: loss {two['loss']:.6f} against {one['loss']:.6f}" + ("" if close else ": failed"),
      f"{two['updates_per_second']:.1f} against {one['updates_per_second']:.1f} updates/s", sep=", ")
PYTHON
}

part_rivals() {
  on_gpu && with_torch || { echo "needs a GPU and PyTorch: left out"; return; }
  "$python" train_rivals.py 2>>"$out/log.txt" | logged
}

ncu_run() { # ncu_run FILE OPTION.. -- COMMAND..
  local file=$1
  shift
  ours timeout 40 ncu --clock-control none --csv --page raw "$@" >"$file" 2>>"$out/log.txt"
}

part_profile() {
  on_gpu || { echo "needs a GPU: left out"; return; }
  command -v ncu >/dev/null || { echo "needs ncu (Nsight Compute): left out"; return; }
  # those of the list that this card has
  local metric metrics=gpu__time_duration.sum known
  known=$(ncu --query-metrics 2>/dev/null | awk '{ print $1 }')
  for metric in dram__bytes_read.sum dram__bytes_write.sum gpu__dram_throughput.avg.pct_of_peak_sustained_elapsed \
    sm__inst_executed_pipe_tensor.sum smsp__warps_active.avg.pct_of_peak_sustained_active \
    smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio \
    l1tex__data_bank_conflicts_pipe_lsu.sum launch__registers_per_thread launch__occupancy_limit_registers \
    launch__occupancy_limit_shared_mem; do
    case $metric in
      launch__*) metrics+=,$metric ;;
      *) grep -qx "${metric%%.*}" <<<"$known" && metrics+=,$metric ;;
    esac
  done
  if [ -x bin/cosdt_cuda_kernels_test ]; then
    ncu_run "$work/attention.csv" --metrics $metrics bin/cosdt_cuda_kernels_test --gtest_filter='*Profile*'
    cat "$work/attention.csv" >>"$out/log.txt"
    "$python" ncu_tables.py kernels "$work/attention.csv"
  fi
}

# The kernels of recorded updates: the program tells a profiler when the first is replayed.
part_update() {
  on_gpu || { echo "needs a GPU: left out"; return; }
  command -v ncu >/dev/null || { echo "needs ncu (Nsight Compute): left out"; return; }
  rm -rf "$work/run"
  ncu_run "$work/update.csv" --metrics gpu__time_duration.sum --graph-profiling node --cache-control none \
    --profile-from-start off bin/cosdt train --dataset demo/hopper-medium --data-dir "$work/data" --out "$work/run" \
    --device cuda --threads 1 --seed 0 --updates 8 --precision bf16
  cat "$work/update.csv" >>"$out/log.txt"
  "$python" ncu_tables.py update "$work/update.csv" 5 # the first 3 are not recorded
}

unpack_fla() {
  local wheel
  [ -d "$work/site" ] && return
  for wheel in wheels/*.whl; do
    [ -f "$wheel" ] && "$python" -m zipfile -e "$wheel" "$work/site"
  done
}

part_fla() {
  on_gpu && with_torch || { echo "needs a GPU and PyTorch: left out"; return; }
  unpack_fla
  PYTHONPATH=$work/site "$python" simple_gla.py 2>>"$out/log.txt" | logged
}

# Rivals compile their kernels for a minute: into caches, during parts that are not timed.
compile_rivals() {
  unpack_fla
  quietly timeout --foreground 130 "$python" train_rivals.py compile-only &
  quietly timeout --foreground 130 env PYTHONPATH="$work/site" "$python" simple_gla.py compile &
  wait
}

if [ "${1:-}" = --run ]; then # one part, in a process that can be stopped
  cd "$bundle" && "$2"
  exit
fi

# --- all parts --------------------------------------------------------------------------------------
case ${1:-} in -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$self"; exit ;; esac
for part in "$@"; do
  [ -n "${limits[$part]:-}" ] || { echo "check.sh: $part: expected one of ${order[*]}" >&2; exit 2; }
done
wanted=("${@:-${order[@]}}")
started=$SECONDS
seconds=${COSDT_SECONDS:-420}
export python=${COSDT_PYTHON:-python3} out=${OUT:-gpu-check}
mkdir -p "$out"
out=$(readlink -f "$out")
work=$(mktemp -d)
export work TORCHINDUCTOR_CACHE_DIR=$work/inductor TRITON_CACHE_DIR=$work/triton TRITON_CACHE_AUTOTUNING=1
trap 'rm -rf "$work"' EXIT
: >"$out/log.txt"
: >"$out/summary.txt"

if [ -d "$here/bin" ]; then
  bundle=$here
else
  archive=${COSDT_BUNDLE:-$here/../../build/gpu-bundle.tar.xz}
  [ -f "$archive" ] || { echo "check.sh: $archive: expected the archive that tests/gpu/bundle.sh makes, found none" >&2; exit 1; }
  tar -C "$work" -xf "$archive" || exit 1
  bundle=$work/gpu-bundle
  cp "$here"/*.py "$bundle/"
fi
export bundle

read -r check_torch site < <("$python" -c '
import importlib.util, pathlib, re
spec = importlib.util.find_spec("torch")
if spec:
    folder = pathlib.Path(spec.origin).parent
    print(re.search(r"__version__ = .(\S+?).$", (folder / "version.py").read_text(), re.M)[1], folder.parent)
' 2>/dev/null) || { check_torch='' site=''; }
if [ -n "${COSDT_LIBTORCH:-}" ]; then
  libraries=$COSDT_LIBTORCH
elif [ -n "$check_torch" ]; then
  libraries=$(printf '%s:' "$site/torch/lib" "$site"/nvidia/*/lib)
else
  echo "check.sh: expected a Python with torch 2.11 (COSDT_PYTHON) or LibTorch's folder (COSDT_LIBTORCH), found neither" >&2
  exit 1
fi
export check_torch check_libraries=$bundle/lib:${libraries%:} check_device=cpu
nvidia-smi -L >/dev/null 2>&1 && check_device=cuda

compiling=
stop_compiling() {
  [ -n "$compiling" ] || return 0
  # what is compiled meanwhile is no loss; what is not, the rivals' own part compiles
  kill -- -"$compiling" 2>/dev/null
  compiling=
}
for part in "${wanted[@]}"; do
  left=$((seconds - (SECONDS - started)))
  limit=$((limits[$part] < left ? limits[$part] : left))
  if [ "$limit" -lt 3 ]; then
    echo "== $part: left out, no time is left" | tee -a "$out/summary.txt"
    continue
  fi
  case $part in
    kernels | sanitizer | tests)
      if [ -z "$compiling" ] && [ $# -eq 0 ] && [ $check_device = cuda ] && [ -n "$check_torch" ]; then
        setsid bash "$self" --run compile_rivals >/dev/null 2>&1 &
        compiling=$!
      fi
      ;;
    *) stop_compiling ;;
  esac
  echo "== $part" | tee -a "$out/log.txt"
  start=$SECONDS
  timeout -k 3 "$limit" bash "$self" --run "part_$part" >"$work/part.txt" 2>>"$out/log.txt"
  code=$?
  ended="took $((SECONDS - start)) s"
  [ $code -ne 124 ] && [ $code -ne 137 ] || ended="stopped after $limit s"
  { echo "== $part: $ended"; cut -c 1-170 "$work/part.txt" | head -c $((part_characters[$part])); echo; } |
    sed '/^$/d' >>"$out/summary.txt"
  cat "$work/part.txt" >>"$out/log.txt"
done
stop_compiling
echo "== all parts: $((SECONDS - started)) s" >>"$out/summary.txt"
echo
head -c 9900 "$out/summary.txt"

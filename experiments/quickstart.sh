#!/usr/bin/env bash
# From a clone to a trained agent: sets up and builds, trains a small cosFormer agent, evaluates it in
# MuJoCo with D4RL's physics, and films an episode if rendering works.
#
#   experiments/quickstart.sh            on demo/hopper-medium, made here
#   experiments/quickstart.sh DATASET    on a D4RL file, D4RL's name of one, or another demo dataset
#
# SEED (0) is the seed of training. The run is kept in runs/quickstart-DATASET-seed-SEED and reused
# the next time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dataset=${1:-demo/hopper-medium}
seed=${SEED:-0}
name=$(basename "$dataset" .hdf5)
run=runs/quickstart-$name-seed-$seed

cmake/setup.sh
cmake --preset release >/dev/null
cmake --build --preset release --target cosdt
cosdt=build/release/bin/cosdt
# one thread: spinning threads are slow beside other work
export OMP_NUM_THREADS=1
started=$SECONDS

# the target is the best return in the data
info=$("$cosdt" data info "$dataset" --json)
read -r best mean < <(sed 's/.*"return":{"max":\([^,]*\),"mean":\([^,]*\).*/\1 \2/' <<<"$info")

"$cosdt" train --dataset "$dataset" --seed "$seed" --out "$run" --resume --threads 1 \
  --layers 2 --width 64 --context 5 --batch-size 64 --lr 1e-3 --warmup 300 --updates 5000 --lr-decay 5000 \
  --targets "$best"
echo
"$cosdt" eval "$run" --episodes 100 --seed "$seed" | tee "$run/eval.txt"
"$cosdt" eval "$run" --episodes 1 --seed "$seed" --video "$run/episode.mp4" >/dev/null 2>"$run/video.log" ||
  echo "no video: $(tail -n 1 "$run/video.log")"
attained=$(sed -n 's/^return *\([-0-9.]*\) .*/\1/p' "$run/eval.txt")
awk -v agent="$attained" -v data="$mean" -v seconds=$((SECONDS - started)) 'BEGIN {
  printf "\nmean return of the data %.1f; the agent attains %.0f %% of it (%d s after the build)\n",
    data, 100 * agent / data, seconds }'
cat <<END

Next:
  $cosdt eval $run --targets 2000,1500 --json
  $cosdt train --preset original-hopper --dataset hopper-medium-v2.hdf5 --out runs/hopper
  $cosdt compare --config experiments/results/contexts/study.toml --out runs/contexts --dry-run
  tensorboard --logdir runs
END

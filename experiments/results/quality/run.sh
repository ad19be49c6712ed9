#!/usr/bin/env bash
# Trains and evaluates every cell of the table in this folder, one after the other, and goes on where
# it was stopped.
#
#   COSDT=build/release/bin/cosdt DATA=FOLDER RUNS=FOLDER experiments/results/quality/run.sh [I N]
#
# DATA gets the demo datasets at D4RL's sizes, RUNS the run folders. With I and N it takes every N-th
# cell from the I-th on, so that N of them share the work; begin with one, which makes the datasets.
set -euo pipefail
cosdt=$(realpath "${COSDT:?}")
shard=${1:-0} shards=${2:-1}
export OMP_NUM_THREADS=1

for dataset in hopper-medium:1000000 hopper-medium-expert:2000000 \
  halfcheetah-medium:1000000 halfcheetah-medium-expert:2000000; do
  [ -e "$DATA/demo/${dataset%:*}.hdf5" ] ||
    "$cosdt" data fetch "demo/${dataset%:*}" --transitions "${dataset#*:}" --data-dir "$DATA"
done

# one recipe: 4,000 updates on 320 steps each
common=(--lr 1e-3 --warmup 300 --updates 4000 --threads 1)
transformer=(--agent dt --context 20 --batch-size 16 --layers 2 --width 64 --precision bf16)
cell=0
for seed in 0 1 2 3 4; do
  for dataset in hopper-medium hopper-medium-expert halfcheetah-medium halfcheetah-medium-expert; do
    for kind in cosformer softmax linear bc; do
      run=$RUNS/$dataset/$kind/seed-$seed
      if [ $((cell++ % shards)) -ne "$shard" ] || [ -e "$run/eval.json" ]; then continue; fi
      case $kind in
        bc) agent=(--agent bc --batch-size 320) ;;
        *) agent=("${transformer[@]}" --attention "$kind") ;;
      esac
      "$cosdt" train --dataset "demo/$dataset" --data-dir "$DATA" --seed "$seed" --out "$run" --resume \
        "${common[@]}" "${agent[@]}"
      "$cosdt" eval "$run" --episodes 25 --threads 1 --json >"$run/eval.tmp"
      mv "$run/eval.tmp" "$run/eval.json"
    done
  done
done

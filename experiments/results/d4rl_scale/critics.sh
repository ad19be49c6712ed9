#!/usr/bin/env bash
# critics.sh COSDT DATA FOLDER: IQL on the nine datasets, 150,000 updates, whose critics guided.sh uses
set -euo pipefail
for body in hopper halfcheetah walker2d; do
  for kind in medium medium-replay medium-expert; do
    "$1" train --preset "iql-$body-$kind" --dataset "demo/$body-$kind" --data-dir "$2" --updates 150000 \
      --lr-decay 150000 --resume --out "$3/iql-$body-$kind"
  done
done

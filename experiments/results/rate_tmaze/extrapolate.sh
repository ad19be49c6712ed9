#!/usr/bin/env bash
# extrapolate.sh COSDT RUN..: success of agents in mazes longer than those that they learned from, as CSV
set -euo pipefail
cosdt=$1
shift
echo "run,decode,150,300,900,9600"
for run in "$@"; do
  for decode in window staggered recurrent; do
    line=$run,$decode
    for steps in 150 300 900 9600; do
      episodes=$((steps == 9600 ? 20 : 100))
      # an agent that cannot act in this mode leaves the field empty
      rate=$("$cosdt" eval "$run" --env rate-tmaze-$steps --decode $decode --episodes $episodes 2>/dev/null |
        awk '/^success rate/ { print $3 }') || true
      line+=,$rate
    done
    echo "$line"
  done
done

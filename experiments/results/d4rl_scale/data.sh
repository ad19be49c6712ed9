#!/usr/bin/env bash
# data.sh COSDT FOLDER: the nine demo datasets, as large as D4RL's
set -euo pipefail
for body in hopper:402000 halfcheetah:202000 walker2d:302000; do
  for kind in medium:1000000 "medium-replay:${body#*:}" medium-expert:2000000; do
    "$1" data fetch "demo/${body%:*}-${kind%:*}" --transitions "${kind#*:}" --data-dir "$2"
  done
done

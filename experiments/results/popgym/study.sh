#!/usr/bin/env bash
# study.sh COSDT FOLDER [OPTION..]: agents for six of POPGym's games, with a context of 16 steps and of the whole
# episode, on 3,000 episodes; options go to `cosdt compare` (such as --shard 0/2)
set -euo pipefail
cosdt=$1 folder=$2
shift 2
for game in repeat-first-hard:831 repeat-previous-easy:51 repeat-previous-hard:155 autoencode-easy:103 \
  count-recall-easy:51 position-only-cart-pole-hard:600; do
  "$cosdt" data fetch "demo/popgym-${game%:*}" --transitions $((3000 * ${game#*:})) --data-dir "$folder/data"
  "$cosdt" compare --config "$(dirname "${BASH_SOURCE[0]}")/popgym.toml" --datasets "demo/popgym-${game%:*}" \
    --contexts "16,${game#*:}" --data-dir "$folder/data" --out "$folder/runs" "$@"
done

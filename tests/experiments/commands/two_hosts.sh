#!/usr/bin/env bash
# Two hosts, made of network namespaces with a cable between them (cable.py), train together: over a cable with delay
# and loss, which then carries nothing more. Exits with 77 if this machine does not let us make them.
#
#   tests/experiments/commands/two_hosts.sh PROGRAM FOLDER DATASET
set -euo pipefail
program=$1 folder=$2 data=$3
id=$$
a=cosdt-a-$id b=cosdt-b-$id net=10.$((64 + id / 256 % 64)).$((id % 256))
train=("$program" train --dataset "$data" --threads 1 --width 16 --layers 2 --context 4 --batch-size 4 --warmup 10
  --save-every 1000)
export OMP_NUM_THREADS=1

cleanup() {
  kill -9 $(jobs -p) ${cable_pid:-} 2>/dev/null || true
  ip netns del "$a" 2>/dev/null || true
  ip netns del "$b" 2>/dev/null || true
}
trap cleanup EXIT

hosts() {  # hosts MILLISECONDS PERCENT: the cable's delay and loss
  ip netns add "$a" && ip netns add "$b" || return 1
  coproc cable { exec "$(dirname "$0")/cable.py" "$a" "$b" "$1" "$2"; }
  cable_pid=$!
  local ready=
  read -r -t 10 ready <&"${cable[0]}" || true
  [ "$ready" = ready ] &&
    ip -n "$a" addr add "$net.1/24" dev cable && ip -n "$b" addr add "$net.2/24" dev cable &&
    ip -n "$a" link set cable up && ip -n "$b" link set cable up &&
    ip -n "$a" link set lo up && ip -n "$b" link set lo up
}

together() {  # together OUT OPTION..: on both hosts; the exit codes are in code0 and code1, the output in OUT-N.txt
  local out=$1 pids=() rank
  shift
  for rank in 0 1; do
    RANK=$rank WORLD_SIZE=2 MASTER_ADDR=$net.1 MASTER_PORT=29511 \
      ip netns exec "$([ $rank = 0 ] && echo "$a" || echo "$b")" "${train[@]}" --out "$folder/$out" "$@" \
      >"$folder/$out-$rank.txt" 2>&1 &
    pids+=($!)
  done
  [ -z "${at_work:-}" ] || $at_work
  code0=0 code1=0
  wait "${pids[0]}" || code0=$?
  wait "${pids[1]}" || code1=$?
}

fail() {
  echo "two hosts: $1" >&2
  cat "$folder"/*.txt >&2
  exit 1
}

if ! hosts 1 1 2>/dev/null; then
  echo "two hosts: network namespaces or TAP devices cannot be used here"
  exit 77
fi

"${train[@]}" --out "$folder/here" --processes 2 --updates 300 >/dev/null 2>&1 || fail "no run on one host"
together cable --updates 300
[ $code0$code1 = 00 ] || fail "the run over a cable with delay and loss failed"
cmp "$folder/here/last.safetensors" "$folder/cable/last.safetensors" || fail "other weights over the cable"

pull() {
  until [ -s "$folder/pulled/metrics.jsonl" ]; do sleep 0.1; done
  kill -STOP "$cable_pid"
  pulled=$SECONDS
}
at_work=pull together pulled --updates 100000
[ $code0$code1 = 11 ] || fail "exit codes $code0 and $code1 after the cable was pulled"
[ $((SECONDS - pulled)) -lt 60 ] || fail "$((SECONDS - pulled)) s from the cable's end to the run's"
for rank in 0 1; do
  [ "$(grep -c "error: rank $((1 - rank)) of 2 .* ended or does not answer; " "$folder/pulled-$rank.txt")" = 1 ] ||
    fail "no line that names rank $((1 - rank))"
done
updates=$(grep -o 'last save is of update [0-9]*' "$folder/pulled-0.txt" | grep -o '[0-9]*$')
[ "$updates" -gt 0 ] || fail "nothing was trained"
more=$((updates + 100))
"${train[@]}" --out "$folder/pulled" --processes 2 --updates $more --resume >/dev/null 2>&1 || fail "no resume"
"${train[@]}" --out "$folder/whole" --processes 2 --updates $more >/dev/null 2>&1 || fail "no undisturbed run"
cmp "$folder/whole/last.safetensors" "$folder/pulled/last.safetensors" || fail "other weights after the resume"

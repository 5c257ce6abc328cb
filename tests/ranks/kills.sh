#!/usr/bin/env bash
# Kills a random rank of a training at a random moment, again and again, each time resumed by another
# number of ranks, and compares its losses with those of one process that nobody disturbed.
#   tests/ranks/kills.sh [KILLS] [SEGNEXT]     default: 20 build/apps/segnext
set -euo pipefail
kills=${1:-20}
segnext=$(realpath "${2:-build/apps/segnext}")
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
run="train --batch 6 --crop 64 --iterations $((kills * 12 + 20)) --val-every 0 --threads 1 --checkpoint-every 4 --ema 0.99"
"$segnext" $run --out whole >/dev/null
iterations() { cat run/log.jsonl 2>/dev/null | grep -c '"loss"' || true; }
now() { date +%s.%N; }
worst=0
for ((k = 1; k <= kills; ++k)); do
  ranks=$((2 + RANDOM % 3)) victim=$((RANDOM % ranks))
  how="--resume run"; [ -f run/state.safetensors ] || how="--out run --overwrite"
  before=$(iterations)
  # shellcheck disable=SC2086
  if [ "$how" = "--resume run" ]; then arguments="train $how"; else arguments="$run $how"; fi
  mpirun --oversubscribe --bind-to none -n $ranks "$segnext" $arguments >out.txt 2>&1 &
  launcher=$!
  while [ "$(iterations)" -lt $((${before:-0} + 5)) ]; do sleep 0.05; kill -0 $launcher 2>/dev/null || break; done
  sleep "0.$((RANDOM % 90 + 10))"
  process=""
  for p in $(pgrep -P $launcher); do
    tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$victim" && process=$p
  done
  begin=$(now)
  kill -9 "$process" 2>/dev/null || true
  code=0; wait $launcher || code=$?
  took=$(awk "BEGIN {print $(now) - $begin}")
  left=$(pgrep -fc "^$segnext train" || true)
  echo "kill $k: rank $victim of $ranks at iteration $(iterations): code $code after $took s, $left processes left; $(grep -m1 -o 'rank [0-9].*' out.txt || true)"
  [ "$code" -ne 0 ] && [ "$left" -eq 0 ] || { cat out.txt; exit 1; }
  worst=$(awk "BEGIN {print ($took > $worst) ? $took : $worst}")
done
mpirun --oversubscribe --bind-to none -n 2 "$segnext" train --resume run >/dev/null
losses() { grep '"loss"' "$1/log.jsonl" | grep -o '"iteration":[0-9]*\|"loss":[0-9.e-]*' | paste - -; }
paste <(losses whole) <(losses run) | awk -v kills="$kills" -v worst="$worst" '
  {split($2, a, ":"); split($4, b, ":"); d = a[2] / b[2] - 1; if (d < 0) d = -d; if (d > most) most = d
   if ($1 != $3) {print "iterations differ: " $0; exit 1}}
  END {printf "%d kills, the others ended after %.1f s at most; %d losses, %.1e apart at most (relative)\n", kills, worst, NR, most
       exit most > 1e-2}'

#!/usr/bin/env bash
# The campaign against lost and silent: runs killed at random moments, bits flipped in each file of
# a run, hostile inputs to every reader. Best with a sanitized build:
#   tests/campaign/campaign.sh BUILD [kills=50] [flips=200] [inputs=20000] [seed=1]
# BUILD: a build folder with tests, such as build-asan of `tests/run.sh --asan`. Ends with one line,
# "N passed, N failed", and keeps what failed in BUILD/campaign.
set -u
build=$(realpath "$1") || exit 2
shift
kills=50 flips=200 inputs=20000 seed=1
for setting in "$@"; do
  case $setting in kills=*|flips=*|inputs=*|seed=*) eval "$setting" ;;
    *) echo "campaign.sh: unknown setting $setting" >&2; exit 2 ;; esac
done
corpus=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../data/corpus")
segnext=$build/apps/segnext
work=$build/campaign
rm -rf "$work" && mkdir -p "$work" && cd "$work" || exit 2
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:hard_rss_limit_mb=4000
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 OMP_NUM_THREADS=1
RANDOM=$seed
passed=0 failed=0
verdict() { # OK? TEXT
  if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $2"; fi
}
random() { echo $(((RANDOM << 15 | RANDOM) % $1)); }
say() { echo "$(date +%H:%M:%S) $*"; }

# Scenes of 64 pixels as a data set of files would need a tool to draw them: the embedded ones do.
train="train --variant nano --crop 32 --batch 2 --threads 1 --pictures 1 --val-size 32 --val-every 15 \
  --iterations 40 --checkpoint-every 4"
same() { # RUN: weights and log are those of the calm run
  cmp -s "calm/last.safetensors" "$1/last.safetensors" && cmp -s "calm/best.safetensors" "$1/best.safetensors" &&
    [ "$(grep -o '^{[^,]*"iteration":[0-9]*\|"loss":[^,]*\|"mIoU":[^,}]*' calm/log.jsonl)" = \
      "$(grep -o '^{[^,]*"iteration":[0-9]*\|"loss":[^,]*\|"mIoU":[^,}]*' "$1/log.jsonl")" ]
}
sound() { # CODE ERR: an exit code of ours, one line for an error, no sanitizer's complaint
  [ "$1" -le 2 ] && ! grep -q 'Sanitizer\|runtime error' "$2" && { [ "$1" = 0 ] || [ "$(wc -l <"$2")" = 1 ]; }
}

killing() { # one run, killed until KILLS are used up; resumed to the end, over and over
  local left=$kills round=0 code wait
  while [ "$left" -gt 0 ]; do
    round=$((round + 1))
    rm -rf run
    while :; do
      if [ -e run/config.toml ]; then set -- $train_command --resume run; else set -- $train --out run --overwrite; fi
      "$segnext" "$@" >out.txt 2>err.txt </dev/null &
      local process=$!
      if [ "$left" -gt 0 ]; then
        wait=$(random "$longest")
        sleep "$(printf '%d.%03d' $((wait / 1000)) $((wait % 1000)))"
        kill -9 $process 2>/dev/null && left=$((left - 1))
      fi
      wait $process 2>/dev/null; code=$?
      [ $code = 137 ] && continue
      break
    done
    sound $code err.txt && [ $code = 0 ] && same run
    verdict $? "killed in round $round, the run ended otherwise ($code: $(tail -1 err.txt))"
  done
}

flip() { # FILE: one random bit of it
  local size at
  size=$(stat -c %s "$1")
  at=$(random "$size")
  # The metadata and the header are a small part of a large file: half of the flips go there.
  [ $((RANDOM % 2)) = 0 ] && at=$((at % 4096 < size ? at % 4096 : at))
  local byte
  byte=$(od -An -tu1 -j "$at" -N1 "$1")
  printf "\\x$(printf %02x $((byte ^ (1 << (RANDOM % 8)))))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
  echo "$at" >flipped.txt
}

flipping() {
  local file code i noticed
  "$segnext" eval --weights calm/best.safetensors --data scenes --split test --size 32 --threads 1 \
    --json calm.json >/dev/null 2>&1
  for file in config.toml log.jsonl state.safetensors last.safetensors best.safetensors; do
    noticed=0
    for ((i = 0; i < flips; ++i)); do
      rm -rf run && cp -r calm run && flip "run/$file"
      case $file in
        last*|best*) # as weights to score
          "$segnext" eval --weights "run/$file" --data scenes --split test --size 32 --threads 1 \
            --json run.json >out.txt 2>err.txt
          code=$?
          sound $code err.txt && { [ $code = 2 ] || cmp -s <(scores calm.json) <(scores run.json); } ;;
        *)
          "$segnext" train --resume run >out.txt 2>err.txt
          code=$?
          sound $code err.txt && { [ $code = 2 ] || { [ $code = 0 ] && same run && { cmp -s calm/config.toml run/config.toml || grep -q 'from now on' out.txt; }; }; } ;;
      esac
      local ok=$?
      [ $code = 2 ] && noticed=$((noticed + 1))
      [ $ok = 0 ] || { mkdir -p kept && cp "run/$file" "kept/$i.$file"; }
      verdict $ok "$file, byte $(cat flipped.txt) ($i): $code: $(tail -1 err.txt)"
    done
    say "flips in $file: $flips, $noticed refused, the others made no difference"
  done
}
scores() { grep -v 'seconds\|"weights"' "$1"; }

say "a calm run"
train_command=train
begin=$(date +%s%N)
"$segnext" $train --out calm --overwrite >out.txt 2>err.txt || { cat err.txt; exit 1; }
longest=$((($(date +%s%N) - begin) / 1000000))
say "$kills kills within $longest ms"
killing
say "$flips flips in each file"
flipping
say "$inputs hostile inputs"
# Half of them pictures, labels and descriptions, a tenth each settings, logs and states; weights by
# time: some hundred inputs a second.
fuzzed() { # NAME COMMAND...
  local name=$1
  shift
  mkdir -p "$name" && (cd "$name" && "$@" >out.txt 2>err.txt)
  echo $? >"$name/code"
}
fuzzed data "$build/tests/data/fuzz_data" 36000 "$seed" $((inputs / 2)) &
fuzzed checkpoint "$build/tests/data/fuzz_checkpoint" $((inputs / 25)) "$corpus" "$seed"
for kind in settings log state; do
  fuzzed $kind "$build/tests/campaign/fuzz_inputs" $kind $((inputs / 10)) "$seed"
done
wait
for kind in data checkpoint settings log state; do
  echo "$kind: $(tail -1 $kind/out.txt)"
  verdict "$(cat $kind/code)" "$kind: see $work/$kind ($(tail -1 $kind/err.txt))"
done
times >times.txt
say "processor time of all, user and system: $(tail -1 times.txt)"
echo "$passed passed, $failed failed"
[ $failed = 0 ]

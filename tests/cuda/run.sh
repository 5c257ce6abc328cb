#!/usr/bin/env bash
# What needs a GPU, in one command: tests/run.sh --cuda [STAGE...]
#   build      with CUDA, for this machine's GPU (or for compute capability 9.0, if there is none)
#   test       every test of cuda/, tensor/, the program, autograd/, nn/ and models/ on the GPU
#   bench      segnext bench: training steps, predictions, each op against the GPU's peak
#   peer       the same by PyTorch, where python3 has it
#   sanitize   compute-sanitizer's memcheck, racecheck and initcheck over the kernels' tests
#   camvid     tiny and small from scratch, with bf16 and f32; CAMVID=DIR, needs MINUTES=90 or so
# Without stages: all but camvid. All of it ends within MINUTES (default: 12), in parts that come in
# order of worth: one that takes too long is ended, one that fails stops no other, one without time
# left is skipped. What they say is written as they go to $RESULTS (default: build-cuda/results),
# and a line for each to summary.txt there. Where no package archive is in reach, see
# tests/cuda/deps.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
case "${1:-}" in -h|--help) sed -n '2,13p' "$0" | cut -c3-; exit 0 ;; esac
export build=${BUILD:-build-cuda}
results=${RESULTS:-$build/results}
stages=" ${*:-build test bench peer sanitize} "
for stage in $stages; do
  case $stage in
    build|test|bench|peer|sanitize|camvid) ;;
    *) echo "tests/run.sh --cuda: unknown stage $stage; see --help" >&2; exit 2 ;;
  esac
done
limit=$(awk -v minutes="${MINUTES:-12}" 'BEGIN {print int(60 * minutes)}')
failed=0
mkdir -p "$results"
: >"$results/summary.txt"

gpu() { nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d '. '; }
arch=$(gpu || true)
export arch
if [ -z "$arch" ]; then
  echo "******** NO GPU HERE: what follows is built, and tests of the GPU are skipped ********"
fi

wanted() { case $stages in *" $1 "*) true ;; *) false ;; esac; }
torch=$(! wanted peer || python3 -c 'import torch; print(torch.__version__)' 2>/dev/null || true)
record() {  # STAGE NAME OUTCOME SECONDS
  printf '%-9s %-22s %6d s  %s\n' "$1" "$2" "$4" "$3" | tee -a "$results/summary.txt"
}
# Why a part cannot be run, or nothing.
obstacle() {  # STAGE COMMAND
  [ "$1" = build ] || [ "$1" = test ] || [ -n "$arch" ] || { echo "there is no GPU"; return; }
  [ "$1" != peer ] || [ -n "$torch" ] || { echo "python3 has no PyTorch"; return; }
  command -v "$2" >/dev/null || echo "there is no $2"
}
part() {  # STAGE NAME SECONDS-AT-MOST COMMAND...
  local stage=$1 name=$2 most=$3 left=$((limit - SECONDS)) begin=$SECONDS status=0 outcome lines=()
  shift 3
  wanted "$stage" || return 0
  outcome=$(obstacle "$stage" "$1")
  [ "$left" -ge 3 ] || outcome="no time"
  if [ -n "$outcome" ]; then record "$stage" "$name" "skipped: $outcome" 0; return; fi
  [ "$most" -le "$left" ] || most=$left
  echo "== $SECONDS s used, $left s left: $stage $name, at most $most s"
  case $stage in test|bench) lines=(stdbuf -oL) ;; esac  # or what it said is lost when it is ended
  timeout -k 5 "$most" "${lines[@]}" "$@" >"$results/$stage-$name.txt" 2>&1 || status=$?
  tail -n 4 "$results/$stage-$name.txt"
  case $status in
    0) outcome=passed ;;
    77) outcome="skipped: see $stage-$name.txt" ;;
    124|137) outcome="timed out"; failed=1 ;;
    *) outcome="failed ($status)"; failed=1 ;;
  esac
  record "$stage" "$name" "$outcome" $((SECONDS - begin))
}

use_deps() {
  local root=$PWD/.deps libraries
  libraries=$(dirname "$(find "$root" -name libfmt.so | head -1)")
  export CPATH=$root/usr/include:$root/usr/include/eigen3${CPATH:+:$CPATH}
  CPATH=$CPATH:$root/usr/include/$(basename "$libraries")
  export LIBRARY_PATH=$libraries${LIBRARY_PATH:+:$LIBRARY_PATH}
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  export PKG_CONFIG=$root/usr/bin/pkgconf PKG_CONFIG_SYSROOT_DIR=$root
  export PKG_CONFIG_PATH=$libraries/pkgconfig:$root/usr/share/pkgconfig
}
if [ -d .deps ]; then use_deps; fi

suites=(cuda tensor program autograd nn models)
binary() {  # SUITE
  if [ "$1" = program ]; then echo "$build/tests/cuda/test_program_cuda"; else echo "$build/tests/test_$1_cuda"; fi
}
build_all() {  # TARGETS
  if [ ! -d .deps ]; then
    . apps/packages.sh
    install_packages $BUILD_PACKAGES $TEST_PACKAGES
  fi
  [ -f "$build/build.ninja" ] || meson setup "$build" -Dcuda=enabled -Dgpu_archs="${arch:-90}"
  ninja -k 0 -C "$build" "$@"
}
export -f build_all

test_part() {  # SUITE SECONDS-AT-MOST
  part test "$1" "$2" "$(binary "$1")" --duration=true
}
bench() {  # NAME SECONDS-AT-MOST ARGUMENTS...
  local name=$1 most=$2
  shift 2
  part bench "$name" "$most" "$build/apps/segnext" bench --device cuda --runs 10 \
    --json "$results/bench-$name.json" "$@"
}
peer() {  # NAME SECONDS-AT-MOST ARGUMENTS...
  local name=$1 most=$2
  shift 2
  part peer "$name" "$most" python3 tests/cuda/peer.py --precision bf16 \
    --json "$results/peer-$name.json" "$@"
}
# Small programs with every kernel in them; the model's tests take too long under it.
sanitize() {  # TOOL SUITE SECONDS-AT-MOST
  # The allocator keeps freed memory: memcheck sees what leaves a segment.
  part sanitize "$1-$2" "$3" compute-sanitizer --tool "$1" --error-exitcode 9 "$(binary "$2")"
}

targets=(apps/segnext)
for suite in "${suites[@]}"; do
  target=$(binary "$suite")
  targets+=("${target#"$build"/}")
done
export NEXTGRAD_TEST_DEVICE=cuda
part build all 480 bash -euo pipefail -c 'build_all "$@"' build "${targets[@]}"
test_part cuda 150
test_part tensor 120
test_part program 120
for suite in autograd nn models; do test_part $suite 90; done

size=(--size 512 --classes 150 --batch 16)
bench tiny-b16 60 --variant tiny "${size[@]}" --precision bf16
peer tiny-train 120 --variant tiny "${size[@]}" --train
bench base-b16 60 --variant base "${size[@]}" --precision bf16
bench tiny-wide 40 --variant tiny --size 1536x768 --classes 19 --batch 1 --precision bf16
bench tiny-f32 60 --variant tiny "${size[@]}"
bench large-b16 90 --variant large "${size[@]}" --precision bf16
bench small-b16 60 --variant small "${size[@]}" --precision bf16
bench tiny-b32 60 --variant tiny --size 512 --classes 150 --batch 32 --precision bf16
bench tiny-tf32 60 --variant tiny "${size[@]}" --precision tf32

peer tiny-512x512-1 60 --variant tiny --size 512x512 --batch 1 --classes 150 --infer
peer base-train 120 --variant base "${size[@]}" --train
peer tiny-768x1536-1 60 --variant tiny --size 768x1536 --batch 1 --classes 150 --infer
peer tiny-512-32 60 --variant tiny --size 512x512 --batch 32 --classes 150 --infer
peer large-train 150 --variant large "${size[@]}" --train

for suite in tensor cuda; do sanitize memcheck $suite 150; done
for tool in racecheck initcheck; do
  for suite in tensor cuda; do sanitize $tool $suite 150; done
done

camvid() {  # VARIANT PRECISION
  local run=$results/camvid-$1-$2 split device
  part camvid "$1-$2" 7200 "$build/apps/segnext" train --device cuda --precision "$2" --data camvid \
    --data-root "$CAMVID" --variant "$1" --crop 352 480 --batch 16 --iterations 4000 --scale-min 0.5 --scale-max 2 \
    --lr 6e-4 --head-lr-multiplier 1 --warmup 200 --seed 0 --val-every 400 --val-size 480x352 \
    --workers 14 --overwrite --out "$run"
  for split in val test; do
    for device in cuda cpu; do
      camvid_scores "$1-$2" best $split $device
    done
    camvid_scores "$1-$2" last $split cuda
  done
}
camvid_scores() {  # RUN WEIGHTS SPLIT DEVICE
  part camvid "$1-$2-$3-$4" 600 "$build/apps/segnext" eval --weights "$results/camvid-$1/$2.safetensors" \
    --data camvid --data-root "$CAMVID" --split "$3" --size 480x352 --device "$4" --json "$results/camvid-$1/$2-$3-$4.json"
}
if wanted camvid; then
  if [ -d "${CAMVID:-}" ]; then
    for variant in tiny small; do
      for precision in bf16 f32; do camvid $variant $precision; done
    done
  else
    echo "CAMVID=DIR names no folder: no training on CamVid"
    failed=1
  fi
fi
echo "$SECONDS s used of $limit; $results/summary.txt:"
cat "$results/summary.txt"
exit $failed

#!/usr/bin/env bash
# What needs a GPU, in one command: tests/run.sh --cuda [STAGE...]
#   build      with CUDA, for this machine's GPU (or for compute capability 9.0, if there is none)
#   test       every test of tensor/, autograd/, nn/, models/ and the program on the GPU
#   sanitize   compute-sanitizer's memcheck, racecheck and initcheck over the kernels' tests
#   bench      segnext bench: training steps, predictions, each op against the GPU's peak
#   peer       the same by PyTorch, where python3 has it
#   camvid     tiny and small from scratch, with bf16 and f32; CAMVID=DIR, minutes each
# Without stages: build test sanitize bench peer. Figures are left in $RESULTS (default:
# build-cuda/results). Where no package archive is in reach, see tests/cuda/deps.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
case "${1:-}" in -h|--help) sed -n '2,11p' "$0" | cut -c3-; exit 0 ;; esac
build=${BUILD:-build-cuda}
results=${RESULTS:-$build/results}
stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(build test sanitize bench peer)
failed=0

gpu() { nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d '. '; }
arch=$(gpu || true)
if [ -z "$arch" ]; then
  echo "******** NO GPU HERE: what follows is built, and tests of the GPU are skipped ********"
fi

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

stage_build() {
  if [ -d .deps ]; then
    use_deps
  else
    . apps/packages.sh
    install_packages $BUILD_PACKAGES $TEST_PACKAGES
  fi
  [ -f "$build/build.ninja" ] || meson setup "$build" -Dcuda=enabled -Dgpu_archs="${arch:-90}"
  ninja -C "$build"
}

stage_test() {
  local suites
  suites=$(meson test -C "$build" --list 2>/dev/null | grep -E -- '-cuda$' | sed 's/.* //')
  meson test -C "$build" --no-rebuild --num-processes 1 --print-errorlogs $suites || failed=1
  cp "$build"/meson-logs/testlog.txt "$results/tests.txt"
}

# Small programs with every kernel in them; the model's tests take too long under it.
stage_sanitize() {
  if ! command -v compute-sanitizer >/dev/null; then echo "no compute-sanitizer here"; failed=1; return; fi
  local tool suite
  for tool in memcheck racecheck initcheck; do
    for suite in tensor cuda; do
      echo "compute-sanitizer --tool $tool, $suite"
      # The allocator keeps freed memory: memcheck sees what leaves a segment.
      NEXTGRAD_TEST_DEVICE=cuda compute-sanitizer --tool "$tool" --error-exitcode 9 \
        "$build/tests/test_${suite}_cuda" >"$results/$tool-$suite.txt" 2>&1 || failed=1
      tail -4 "$results/$tool-$suite.txt"
    done
  done
}

bench() {  # NAME ARGUMENTS...
  local name=$1
  shift
  echo "== segnext bench $*"
  "$build/apps/segnext" bench --device cuda --json "$results/bench-$name.json" "$@" | tee "$results/bench-$name.txt" || failed=1
}
stage_bench() {
  local v
  for v in tiny small base large; do
    bench "$v-b16" --variant $v --size 512 --batch 16 --classes 150 --runs 20 --precision bf16
  done
  bench tiny-b32 --variant tiny --size 512 --batch 32 --classes 150 --runs 20 --precision bf16
  bench tiny-wide --variant tiny --size 1536x768 --batch 1 --classes 19 --runs 20 --precision bf16
  bench tiny-f32 --variant tiny --size 512 --batch 16 --classes 150 --runs 10
  bench tiny-tf32 --variant tiny --size 512 --batch 16 --classes 150 --runs 10 --precision tf32
}

stage_peer() {
  if ! python3 -c 'import torch' 2>/dev/null; then echo "python3 has no PyTorch here"; return; fi
  local v
  for v in tiny base large; do
    python3 tests/cuda/peer.py --variant $v --size 512x512 --batch 16 --classes 150 --train \
      --precision bf16 --json "$results/peer-$v-train.json" || failed=1
  done
  for size in 512x512 768x1536; do
    python3 tests/cuda/peer.py --variant tiny --size $size --batch 1 --classes 150 --infer \
      --precision bf16 --json "$results/peer-tiny-$size-1.json" || failed=1
  done
  python3 tests/cuda/peer.py --variant tiny --size 512x512 --batch 32 --classes 150 --infer \
    --precision bf16 --json "$results/peer-tiny-512-32.json" || failed=1
}

stage_camvid() {
  local data=${CAMVID:-} variant precision split
  if [ ! -d "$data" ]; then echo "CAMVID=DIR names no folder: no training on CamVid"; failed=1; return; fi
  for variant in tiny small; do
    for precision in bf16 f32; do
      local run=$results/camvid-$variant-$precision
      "$build/apps/segnext" train --device cuda --precision $precision --data camvid --data-root "$data" \
        --variant $variant --crop 352 480 --batch 16 --iterations 4000 --scale-min 0.5 --scale-max 2 \
        --lr 6e-4 --head-lr-multiplier 1 --warmup 200 --seed 0 --val-every 400 --val-size 480x352 \
        --workers 14 --overwrite --out "$run" || failed=1
      for split in val test; do
        for device in cuda cpu; do
          "$build/apps/segnext" eval --weights "$run/best.safetensors" --data camvid --data-root "$data" \
            --split $split --size 480x352 --device $device --json "$run/best-$split-$device.json" | tail -3 || failed=1
        done
        "$build/apps/segnext" eval --weights "$run/last.safetensors" --data camvid --data-root "$data" \
          --split $split --size 480x352 --device cuda --json "$run/last-$split.json" | tail -3 || failed=1
      done
    done
  done
}

mkdir -p "$results"
for stage in "${stages[@]}"; do
  case $stage in
    build|test|sanitize|bench|peer|camvid)
      case $stage in
        build|test) ;;
        *) if [ -z "$arch" ]; then echo "$stage: skipped, there is no GPU"; continue; fi ;;
      esac
      "stage_$stage" ;;
    *) echo "tests/run.sh --cuda: unknown stage $stage; see --help" >&2; exit 2 ;;
  esac
done
exit $failed

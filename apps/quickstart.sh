#!/usr/bin/env bash
# From a fresh Debian 12 to a trained segmentation model in a few minutes: installs what is missing,
# builds, trains the nano variant on the embedded scenes, scores it, and draws predictions.
#   bash apps/quickstart.sh [RUN-FOLDER]     QUICKSTART_ITERATIONS=2000 by default
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run=${1:-runs/quickstart}
iterations=${QUICKSTART_ITERATIONS:-2000}
. apps/packages.sh

say() { printf '\n== %s\n' "$*"; }

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES

say "building"
# For the CPU, unless a GPU answers: then for its generation alone ("9.0" is 90), if the toolkit knows it.
generation=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .) || generation=
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
device=(-Dcuda=disabled)
if [[ $generation =~ ^[0-9]+$ ]] && ((generation >= 80)) &&
  "$nvcc" --list-gpu-arch 2>/dev/null | grep -qx "compute_$generation"; then
  device=("-Dgpu_archs=$generation")
fi
[ -f build/build.ninja ] || meson setup build -Dtests=false -Dcpu_arch=native "${device[@]}"
ninja -C build apps/segnext
segnext=build/apps/segnext

if [ -f "$run/state.safetensors" ]; then
  say "going on with the run in $run"
  "$segnext" train --resume "$run"
else
  say "training nano on the embedded scenes, $iterations iterations (Ctrl-C saves; run me again to go on)"
  "$segnext" train --variant nano --data scenes --lr 2e-3 --iterations "$iterations" \
    --val-every $(((iterations + 3) / 4)) --out "$run" --overwrite
fi
[ -f "$run/best.safetensors" ] || exit 0 # stopped before the first validation

say "scoring the test split"
"$segnext" eval --weights "$run/best.safetensors" --data scenes --split test --json "$run/test.json"

say "drawing predictions"
"$segnext" predict --weights "$run/best.safetensors" --data scenes --split test --count 8 \
  --overlay --colour --output "$run/predictions" --overwrite

cat <<END

All of it is in $run:
  report.html        curves, scores per class, confusion matrix, images (open it in a browser)
  predictions/       image, truth, colour and overlay of 8 test scenes
  test.json          the scores above, with exact counts
  best.safetensors   the weights, in PyTorch's names and layout
Next: $segnext train --help
END

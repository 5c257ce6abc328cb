#!/usr/bin/env bash
# run.sh keeps to its time: with stubs for all that it starts, one of which never ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
stub() {  # FILE COMMANDS
  mkdir -p "$(dirname "$folder/$1")"
  printf '#!/bin/sh\n%s\n' "$2" >"$folder/$1"
  chmod +x "$folder/$1"
}
stub bin/nvidia-smi 'echo 9.0'
stub bin/ninja 'echo built'
stub bin/dpkg-query 'echo install ok installed'
stub build.ninja ''
stub tests/test_cuda_cuda 'echo 3 cases'
stub tests/test_tensor_cuda 'exit 1'
stub tests/cuda/test_program_cuda 'exit 77'
stub tests/test_nn_cuda 'echo begun; exec sleep 100'
stub apps/segnext 'exit 0'
status=0
PATH=$folder/bin:$PATH BUILD=$folder RESULTS=$folder/results MINUTES=0.12 tests/cuda/run.sh build test bench || status=$?
passed=0
failed=0
expect() {  # WHAT COMMAND...
  local what=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "run.sh: $what" >&2; fi
}
line() { grep -Eq "^$1 +$2 +[0-9]+ s  $3\$" "$folder/results/summary.txt"; }
expect "it hides that parts failed" [ "$status" -eq 1 ]
expect "it ends too late" [ "$SECONDS" -le 12 ]
expect "a part's words are lost" grep -q '3 cases' "$folder/results/test-cuda.txt"
expect "an ended part's words are lost" grep -q begun "$folder/results/test-nn.txt"
expect "what passed" line build all passed
expect "what passed after it" line test cuda passed
expect "what failed" line test tensor 'failed \(1\)'
expect "what skips itself" line test program 'skipped: see test-program.txt'
expect "what was not built" line test autograd 'skipped: there is no .*test_autograd_cuda'
expect "what never ends" line test nn 'timed out'
expect "what is left" line test models 'skipped: no time'
expect "another stage" line bench tiny-f32 'skipped: no time'
echo "[doctest] test cases: $((passed + failed)) | $passed passed | $failed failed |"
[ "$failed" -eq 0 ]

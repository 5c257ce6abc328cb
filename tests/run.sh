#!/usr/bin/env bash
# Installs what is missing (Debian packages; root or sudo), builds, runs every test, and ends with
# one line: "N passed, N failed".
#   tests/run.sh            the suite, optimised build
#   tests/run.sh --asan     the suite under AddressSanitizer and UndefinedBehaviorSanitizer
#   tests/run.sh --tsan     the threaded tests (kernels, loader, ranks that are threads) under ThreadSanitizer
#   tests/run.sh --races    the CUDA kernels' tests, emulated, watched for races (the suite has a part of them)
#   tests/run.sh --races mutants  the proof that these find races: broken kernels (tests/cuda/mutants.py --help)
#   tests/run.sh --cuda     what needs a GPU: tests, compute-sanitizer, timings; --cuda --help
# BUILD=DIR chooses the build folder (default: build-tests, build-asan, build-tsan, build-races).
set -euo pipefail
cd "$(dirname "$0")/.."
. apps/packages.sh

# Kernels are compiled for the two GPU generations that tests/cuda/figures.py speaks of.
case "${1:-}" in
  --cuda) shift; exec tests/cuda/run.sh "$@" ;;
  "") build=${BUILD:-build-tests}; options=(-Dgpu_archs=80,90); suites=(--no-suite races-whole) targets=() ;;
  --asan) build=${BUILD:-build-asan}; suites=() targets=()
    options=(-Dcpu_arch=native -Dcuda=disabled -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 -Ddebug=true)
    export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ;;
  --tsan) build=${BUILD:-build-tsan}; suites=(tensor data nn)
    targets=(tests/tensor/test_tensor tests/data/test_data tests/nn/test_nn)
    options=(-Dcpu_arch=native -Dcuda=disabled -Db_sanitize=thread -Db_lundef=false -Doptimization=1 -Ddebug=true) ;;
  --races) build=${BUILD:-build-races}; suites=(--suite races --suite races-whole)
    targets=(races)
    options=(-Dcpu_arch=native -Dcuda=disabled) ;;
  -h|--help) sed -n '2,10p' "$0" | cut -c3-; exit 0 ;;
  *) echo "tests/run.sh: unknown option $1; see --help" >&2; exit 2 ;;
esac

install_packages $BUILD_PACKAGES $TEST_PACKAGES
[ -f "$build/build.ninja" ] || meson setup "$build" "${options[@]}"
ninja -C "$build" "${targets[@]}"
if [ "${1:-} ${2:-}" = "--races mutants" ]; then BUILD=$build exec tests/cuda/mutants.py "${@:3}"; fi
structure=0
sh tests/structure.sh || structure=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
meson test -C "$build" --no-rebuild --num-processes 1 --verbose "${suites[@]}" 2>&1 | tee "$log" || status=$?

# doctest closes each suite with "[doctest] test cases: N | N passed | N failed | ..."
count() { awk -F'|' -v field="$1" '/\[doctest\] test cases:/ {split($field, a, " "); s += a[1]} END {print s + 0}' "$log"; }
passed=$(count 2)
failed=$(count 3)
# A suite that crashed closes with no such line: meson counts it.
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
passed=$((passed + 1 - structure))
failed=$((failed + structure))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

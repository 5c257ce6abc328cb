#!/bin/sh
# The house keeps its rules: the top level is exact, a folder includes only what stands above it, a
# room only what its house allows, no folder holds more than 40 files, nothing above tensor/ touches
# raw memory, nothing outside cuda/ includes a CUDA header, only command_line.cpp includes CLI11, and
# files stay readable. Fails with one line for each breach.
cd "$(dirname "$0")/.." || exit 1
bad=0
breach() { echo "structure: $1" >&2; bad=1; }

for entry in $(git ls-files 2>/dev/null | cut -d/ -f1 | sort -u); do
  case $entry in
    meson.build|meson_options.txt|tensor|autograd|nn|cuda|models|data|apps|tests|README.md|LICENSE|.*) ;;
    *) breach "$entry does not belong at the top level" ;;
  esac
done

# folder: what it may include besides itself
check() {
  folder=$1; shift
  allowed="$folder"; for a in "$@"; do allowed="$allowed|$a"; done
  [ -d "$folder" ] || return 0
  hits=$(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.h' --include='*.cpp' --include='*.cu' --include='*.cuh' "$folder" |
    grep -vE "\"($allowed)/")
  [ -z "$hits" ] || breach "$folder may include only $allowed: $hits"
}
check tensor
check cuda tensor
check autograd tensor
check nn tensor autograd
check models tensor autograd nn
check data tensor autograd nn
check apps tensor autograd nn models data

# a room, and rooms of its house that it must not know
forbid() {
  room=$1; shift
  for other in "$@"; do
    hits=$(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"'"$other/" --include='*.h' --include='*.cpp' --include='*.cu' "$room")
    [ -z "$hits" ] || breach "$room must not know $other: $hits"
  done
}
forbid tensor/cpu/kit tensor/cpu/ops
forbid cuda/kit cuda/device cuda/ops
forbid cuda/device cuda/ops
forbid data/files data/images data/weights data/augment data/datasets data/stream data/scores
forbid data/images data/weights data/augment data/datasets data/stream data/scores
forbid data/weights data/images data/augment data/datasets data/stream data/scores
forbid data/augment data/weights data/datasets data/stream data/scores
forbid data/datasets data/weights data/stream data/scores
forbid data/stream data/weights data/scores
forbid data/scores data/weights data/stream data/augment
forbid apps/settings apps/inference apps/report apps/training apps/commands
forbid apps/inference apps/report apps/training apps/commands
forbid apps/report apps/training apps/commands
forbid apps/training apps/commands
hits=$(grep -rlE '#[[:space:]]*include[[:space:]]*<CLI/' tensor cuda autograd nn models data apps | grep -v '^apps/commands/command_line.cpp$')
[ -z "$hits" ] || breach "CLI11 known outside command_line.cpp: $hits"

# What a newcomer looks for has a room of its own, and a house of rooms a page that says where.
for folder in $(git ls-files tensor cuda autograd nn models data apps 2>/dev/null | sed 's,/[^/]*$,,' | sort -u); do
  [ "$(find "$folder" -maxdepth 1 -type f | wc -l)" -le 40 ] || breach "$folder holds more than 40 files"
done
for house in $(git ls-files tensor cuda autograd nn models data apps 2>/dev/null | sed 's,/[^/]*$,,' | grep / | grep -v '/pch$' | sed 's,/[^/]*$,,' | sort -u); do
  [ -f "$house/README.md" ] || breach "$house has rooms and no README.md"
done

for folder in autograd nn models data apps; do
  hits=$(grep -rnE '[.>](data<|raw\(\))|cpu/|tensor/cpu' --include='*.h' --include='*.cpp' "$folder")
  [ -z "$hits" ] || breach "raw memory above tensor/: $hits"
done
hits=$(grep -rlE '#[[:space:]]*include[[:space:]]*[<"](cuda|cublas|cudnn|nccl)' tensor autograd nn models data apps)
[ -z "$hits" ] || breach "CUDA headers outside cuda/: $hits"
hits=$(grep -rlE '#[[:space:]]*include[[:space:]]*<(fstream|filesystem|cstdio)>' nn models autograd tensor)
[ -z "$hits" ] || breach "files on disk known above data/: $hits"
for file in $(find tensor autograd nn cuda models data apps -name '*.h' -o -name '*.cpp' -o -name '*.cu'); do
  [ "$(wc -l < "$file")" -le 600 ] || breach "$file is longer than 600 lines"
done

# An elementwise op is four edits, another op one in each of six places (README, "Reading the code").
in_order() { sed -n "/^enum class $1 {/,/^}/p" tensor/elementwise.h | grep -oE '^  [a-z_0-9]+' ; }
for op in $(in_order Unary); do
  grep -q "struct UnaryOp<Unary::$op," tensor/elementwise.h || breach "the table has no struct for $op"
  grep -qE "(Unary|Activation)::$op\b" autograd/arithmetic.h autograd/arithmetic.cpp || breach "autograd/ does not know $op"
  grep -q "{Unary::$op," tests/tensor/test_elementwise.cpp || breach "no test of the value of $op"
  case $op in
    neg) call='-in\[0\]' ;;
    add_scalar) call='+ 2.0' ;;
    mul_scalar) call='in\[0\] \* 2.0' ;;
    *) call="\b$op(in\[0\]" ;;
  esac
  grep -q -e "$call" tests/autograd/test_ops.cpp || breach "no gradcheck of $op"
done
cuda_alone=$(sed -n '/^class Fused {/,/^};/p' tensor/fused.h | grep -oE '^  virtual [A-Za-z].* [a-z_0-9]+\(' | sed 's/(.*//; s/.* //')
cpu_alone=$(sed -n '/^class CpuBackend /,/^};/p' tensor/cpu/cpu_backend.h | grep -oE '^  [A-Za-z]+ [a-z_0-9]+\(' | sed 's/(.*//; s/.* //')
for op in $cuda_alone $(grep -ohE '^virtual [A-Za-z].* [a-z_0-9]+\(' tensor/primitives.h tensor/fused_ops.h | sed 's/(.*//; s/.* //'); do
  case $op in description|roofline|primitives) continue ;; esac
  if echo " $cpu_alone " | grep -qw "$op" || ! echo " $cuda_alone " | grep -qw "$op"; then
    grep -rqE "Cpu(Backend|Primitives)::$op\(" tensor/cpu || breach "$op has no CPU kernel"
  fi
  echo " $cpu_alone " | grep -qw "$op" || grep -rq "CudaBackend::$op(" cuda || breach "$op has no CUDA kernel"
  grep -rqE "[.>:]$op(\(|,)" tensor/*.cpp autograd nn models apps || breach "nothing above a backend calls $op"
  grep -rq "\b${op%_backward}\b" tests/autograd tests/tensor tests/nn || breach "no test of $op"
done
[ $bad -eq 0 ] && echo "structure: the folders keep to their rules"
exit $bad

#!/bin/sh
# The house keeps its rules: the top level is exact, a folder includes only what stands above it,
# nothing above tensor/ touches raw memory, nothing outside cuda/ includes a CUDA header, and files
# stay readable. Fails with one line for each breach.
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
[ $bad -eq 0 ] && echo "structure: the folders keep to their rules"
exit $bad

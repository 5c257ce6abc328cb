#!/bin/sh
# compile.sh OBJECT COMMAND...: runs nvcc and keeps what ptxas tells of each kernel's registers and
# memory as OBJECT.usage, for tests/cuda/figures.py. Only what fails is shown.
usage=$1.usage
shift
"$@" >"$usage" 2>&1 && exit
cat "$usage" >&2
exit 1

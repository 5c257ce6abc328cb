#!/bin/sh
# Links object files into one that has a single name for others, ENTRY, so that what the compiler
# made of inline functions for one instruction set is never called by code for another.
#   link_kernels.sh OUTPUT ENTRY OBJECT...
set -e
output=$1 entry=$2
shift 2
ld -r --force-group-allocation -o "$output.all" "$@"
objcopy --keep-global-symbol="$entry" "$output.all" "$output"
rm "$output.all"

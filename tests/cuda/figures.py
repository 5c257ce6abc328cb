#!/usr/bin/env python3
"""What the compiler made of the CUDA kernels: registers, local memory, warps.

  figures.py FOLDER            holds each kernel to the limits below; FOLDER has the *.o.usage of a
                               build (build/cuda): what ptxas told of each kernel (cuda/compile.sh)
  figures.py FOLDER --table    prints the table of cuda/README.md

Fails if a kernel has local memory (spilled registers, arrays that cannot stay in registers), takes
too many registers, or leaves a multiprocessor room for too few warps. All this is arithmetic on
what ptxas says: nothing is run. Kernels of f64, which is for tests, may take what they want, but no
local memory. Another compiler gives other figures, so that a README that differs is no failure.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

# Of a multiprocessor, by compute capability: bytes of shared memory. Both have as much of the rest.
SHARED = {"80": 164 << 10, "90": 228 << 10}
WARPS, BLOCKS, REGISTERS = 64, 32, 65536
RESERVED = 1 << 10  # bytes of shared memory that CUDA takes for each block


class Rules(NamedTuple):
    threads: int = 256  # of a block, if there is enough to do
    dynamic: int = 0  # bytes of dynamic shared memory of such a block, of f32 and bf16
    registers: int = 96  # at most
    warps: int = 16  # at least
    local: int = 0  # bytes of local memory, at most


SUMS = 8 << 10  # of a block's sums of one number of each channel, in packs of 8
RULES = {
    # The normal distribution takes cosines, which reduce huge arguments in local memory. No
    # argument is huge.
    "generate": Rules(local=40),
    # Two blocks at once, for heads of 64 channels, are worth three numbers of a thread.
    "attention_gradient_tiles": Rules(dynamic=34816, registers=255, warps=8, local=16),
    "attention_tiles": Rules(dynamic=34816, registers=216, warps=8),
    # Windows of rows and all taps in registers, in place of loads.
    "march": Rules(threads=128, registers=168, warps=12),
    "march_weights": Rules(threads=128, dynamic=26624, registers=192, warps=8),
    "march_strips": Rules(dynamic=27648, registers=224, warps=8),
    "march_strip_gradients": Rules(dynamic=43008, registers=255, warps=8),
    # All that a branch ends with, for eight channels: no fewer warps than with 96.
    "add_branch": Rules(dynamic=2 * SUMS, registers=112),
    # What ends in double in the block that comes last.
    "branch_gradient": Rules(dynamic=2 * SUMS),
    "channel_gradients": Rules(dynamic=4 * SUMS),
    "gradient_sums": Rules(dynamic=4 * SUMS),
    # A square of 64 bases, and a block's lines.
    "update_coef": Rules(dynamic=17 << 10),
    "update_bases": Rules(dynamic=17 << 10),
    "coef_gradients": Rules(dynamic=17 << 10),
    "base_gradients": Rules(dynamic=17 << 10),
    "moments": Rules(dynamic=2 * SUMS),
    "parameter_sums": Rules(dynamic=2 * SUMS),
    "sum_rows": Rules(dynamic=2 * SUMS),
    "finish_channels": Rules(threads=512, dynamic=8192),
    "finish_moments": Rules(threads=512, dynamic=8192),
    "finish_products": Rules(threads=512, dynamic=8192),
    "sum_partials": Rules(threads=512, dynamic=4096),
    "argmax_cells": Rules(threads=128),
    "step_slots": Rules(threads=128),
    "upsampled_loss": Rules(threads=128),
    "set_kernel": Rules(threads=32),
}


class Kernel:
    """One instantiation, compiled for one architecture."""

    registers = spilled = local = static = 0

    def __init__(self, name, arch):
        self.arch = arch
        name = re.sub(r"\(anonymous namespace\)::|nextgrad::(cuda::)?|^void ", "", name)
        self.family = re.match(r"\w+", name)[0]
        depth, end = 0, len(self.family)
        while end < len(name) and (depth > 0 or name[end] != "("):  # the parameters'
            depth += {"<": 1, ">": -1}.get(name[end], 0)
            end += 1
        self.name = name[:end]
        # The first type among the template's arguments.
        self.twice = re.match(r"\w+<((true|false|(\(\w+\))?\d+), )*double\b", self.name) is not None
        self.rules = RULES.get(self.family, Rules())

    @property
    def shared(self):
        return self.static + self.rules.dynamic

    @property
    def warps(self):
        """Of its blocks that a multiprocessor has room for."""
        of_block = self.rules.threads // 32
        of_warp = (self.registers * 32 + 255) // 256 * 256  # as registers are handed out
        return of_block * min(WARPS // of_block, BLOCKS, REGISTERS // of_warp // of_block,
                              SHARED[self.arch] // (self.shared + RESERVED))

    def faults(self):
        r, faults = self.rules, []
        if self.local > r.local:
            faults.append(f"{self.local} bytes of local memory ({self.spilled} spilled), "
                          f"{r.local} are allowed")
        if not self.twice and self.registers > r.registers:
            faults.append(f"{self.registers} registers, {r.registers} are allowed")
        if not self.twice and self.warps < r.warps:
            faults.append(f"room for {self.warps} warps, {r.warps} are wanted")
        return [f"sm_{self.arch} {self.name}: {fault}" for fault in faults]


def read(folder):
    text = "".join(file.read_text() for file in sorted(folder.glob("*.o.usage")))
    text = subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True).stdout
    kernels = []
    for line in text.splitlines():
        if found := re.search(r"Compiling entry function '(.*)' for 'sm_(\d+)'", line):
            kernels.append(Kernel(*found.groups()))
        if found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
            kernels[-1].local += int(found[1])  # the functions that it calls have frames, too
            kernels[-1].spilled += int(found[2])
        if found := re.search(r"Used (\d+) registers", line):
            kernels[-1].registers = int(found[1])
            if found := re.search(r"(\d+) bytes smem", line):
                kernels[-1].static = int(found[1])
    return [k for k in kernels if k.arch in SHARED]


def by_family(kernels):
    families = {}
    for k in kernels:
        families.setdefault(k.family, []).append(k)
    return families


def table(kernels):
    """The worst of each family; those that leave the fewest warps first."""
    rows = []
    for family, all_of in by_family(k for k in kernels if not k.twice).items():
        def worst(choose, of, arch=None):
            return choose(of(k) for k in all_of if arch in (None, k.arch))
        rows.append((worst(min, lambda k: k.warps), family,
                     *(worst(max, lambda k: k.registers, arch) for arch in SHARED),
                     worst(max, lambda k: k.spilled), worst(max, lambda k: k.local),
                     worst(max, lambda k: k.shared), *(worst(min, lambda k: k.warps, a) for a in SHARED)))
    head = ["kernel", *(f"registers sm_{a}" for a in SHARED), "spilled", "local", "shared",
            *(f"warps sm_{a}" for a in SHARED)]
    lines = [head, ["---"] * len(head)] + [[f"`{row[1]}`", *row[2:]] for row in sorted(rows)]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    kernels = read(args.folder) if shutil.which("c++filt") else []
    if not kernels:
        print("\n******** SKIPPED: NOTHING OF THE KERNELS' FIGURES WAS CHECKED: no c++filt, or no kernel "
              f"for sm_{' or sm_'.join(SHARED)} was compiled in {args.folder} ********\n")
        return 77
    rows = table(kernels) if {k.arch for k in kernels} == set(SHARED) else []
    if args.table:
        print("\n".join(rows) or "this build is not for all of sm_" + ", sm_".join(SHARED))
        return 0 if rows else 1
    failed, families = 0, by_family(kernels)
    for name, family in families.items():
        faults = [fault for k in family for fault in k.faults()]
        failed += bool(faults)
        print(*faults, sep="\n", end="\n" if faults else "")
    stale = RULES.keys() - families.keys()
    if stale:
        print("no kernel goes by the rules of", ", ".join(sorted(stale)))
    readme = pathlib.Path(__file__).resolve().parents[2] / "cuda" / "README.md"
    if rows and "\n".join(rows) not in readme.read_text():
        print("note: the table of cuda/README.md is of other sources or another compiler; "
              "figures.py FOLDER --table prints this one's")
    cases, failed = len(families) + 1, failed + bool(stale)
    print(f"{len(kernels)} kernels of {len(families)} families")
    print(f"[doctest] test cases: {cases} | {cases - failed} passed | {failed} failed |")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs a program of tests with each thread of a kernel watched for races on its own, and fails if a
kernel of cuda/ that has a barrier met none there: barriers.py PROGRAM [ARGUMENTS]

Which kernels have one is read from the sources: functions that call __syncthreads or __syncwarp, or
one that does. Names are what counts, so that it may find too many, and never too few; one that it
does not find, and that meets a barrier, is an error as well.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

CUDA = pathlib.Path(__file__).parents[2] / "cuda"


def after_bracket(text, at):
    """The end of what the bracket at `at` opens."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in "({") - (text[i] in ")}")
        if depth == 0:
            return i + 1
    raise SystemExit("barriers.py: brackets that do not close: " + text[at : at + 80])


def functions(text):
    """(__global__ or __device__, name, body) of each."""
    text = re.sub(r"//[^\n]*", "", text)
    for start in re.finditer(r"__(global|device)__", text):
        at = start.end()
        while (head := re.compile(r"(\w+)\s*\(").search(text, at)) and head[1] == "__launch_bounds__":
            at = after_bracket(text, head.end() - 1)
        body = text.index("{", after_bracket(text, head.end() - 1))
        yield start[1], head[1], text[body : after_bracket(text, body)]


def kernels_with_barriers():
    all_functions = [f for path in sorted(CUDA.rglob("*")) if path.suffix in (".h", ".cu")
                     for f in functions(path.read_text())]
    meet, before = {"__syncthreads", "__syncthreads_or", "__syncthreads_count", "__syncwarp"}, 0
    while len(meet) > before:
        before = len(meet)
        calls = re.compile(r"\b(%s)\s*(<[^;{}()]*>\s*)?\(" % "|".join(meet))
        meet |= {name for _, name, body in all_functions if calls.search(body)}
    return {name for kind, name, _ in all_functions if kind == "global"} & meet


def main():
    with tempfile.NamedTemporaryFile() as met:
        status = subprocess.run(sys.argv[1:], env={**os.environ, "NEXTGRAD_RACES": "threads",
                                                   "NEXTGRAD_BARRIERS": met.name}).returncode
        # "void nextgrad::cuda::(anonymous namespace)::moments<float, 4>(...)", or without some of it
        names = {re.split(r"[<(]", re.sub(r"[<(](unnamed|anonymous namespace)[>)]::", "", line))[0]
                 .split()[-1].split("::")[-1] for line in open(met.name) if line.strip()}
    wanted = kernels_with_barriers()
    print(f"{len(wanted & names)} of {len(wanted)} kernels that have a barrier met one")
    for name in sorted(wanted - names):
        print(f"barriers.py: {name} met no barrier: test_barriers.cpp needs a case of it")
    for name in sorted(names - wanted):
        print(f"barriers.py: {name} met a barrier that is not found in the sources")
    sys.exit(status or names != wanted)


if __name__ == "__main__":
    main()

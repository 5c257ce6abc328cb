#!/usr/bin/env python3
"""The proof that the race check can fail: kernels and transfers are broken one at a time, and
ThreadSanitizer must report each of these mutants, by the name of what was broken.

    tests/run.sh --races mutants [MUTANT...]     builds first
    tests/cuda/mutants.py [MUTANT...]            in $BUILD (build-races), which run.sh --races makes
    tests/cuda/mutants.py --list                 their numbers and names, either of which chooses one

Not among them: the collectives' streams (nccl.cu), as no program of the race check has ranks; what
nothing follows, as combine_rows()' last barrier, whose absence is no race in any kernel there is.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
BUILD = ROOT / os.environ.get("BUILD", "build-races")
PROGRAM = "tests/cuda/test_cuda_races"
SECONDS = 300  # that a run may take


class Mutant(NamedTuple):
    name: str
    file: str  # of cuda/
    old: str   # found there exactly once
    new: str
    report: str  # what a report must name
    cases: str   # doctest's -tc
    context: str = "warps"  # or threads, for what happens within a warp


MUTANTS = [
    # Barriers that are missing.
    Mutant("sums of a block: read before they are written", "kit/kernel.h",
           "if (lane == 0) scratch[warp] = value;\n  __syncthreads();",
           "if (lane == 0) scratch[warp] = value;",
           "block_reduce", "barriers: softmax*"),
    Mutant("sums of a block: the next one writes too early", "kit/kernel.h",
           "value = __shfl_sync(kAllLanes, value, 0);\n  __syncthreads();",
           "value = __shfl_sync(kAllLanes, value, 0);",
           "block_reduce", "barriers: softmax*"),
    Mutant("sums over rows of threads: a step without a barrier", "kit/channels.h",
           "const int half = (n + 1) / 2;\n    __syncthreads();",
           "const int half = (n + 1) / 2;",
           "combine_rows", "barriers: batch norm*"),
    Mutant("strips: the first rows are read before they are there", "ops/strips_march.h",
           "next.put(lines);\n  __syncthreads();",
           "next.put(lines);",
           "march_strips", "barriers: strips"),
    Mutant("strips: rows are read before they are there", "ops/strips_march.h",
           "next.put(lines + (buffer ^ 1) * kLines);\n    __syncthreads();",
           "next.put(lines + (buffer ^ 1) * kLines);",
           "march_strips", "barriers: strips"),
    Mutant("strips: sums are read before they are written", "ops/strips.cu",
           "shared[i * kStripThreads + me] = sum[i]; });\n  __syncthreads();",
           "shared[i * kStripThreads + me] = sum[i]; });",
           "leave_sums.*strips.cu", "barriers: strips"),
    Mutant("attention: scores from a panel that is not full", "ops/attention.cu",
           "fill_columns(y, row_of_y, first, other);\n    __syncthreads();",
           "fill_columns(y, row_of_y, first, other);",
           "attention_tiles", "barriers: attention*"),
    Mutant("attention: the panel is filled again while it is read", "ops/attention.cu",
           "panel + at.j, out[part]);\n    __syncthreads();",
           "panel + at.j, out[part]);",
           "attention_tiles", "barriers: attention*"),
    Mutant("plain products: tiles are filled again while they are read", "device/gemm.cu",
           "sum += part;\n      __syncthreads();",
           "sum += part;",
           "plain_product", "barriers: products*"),
    Mutant("optimiser: constants are read before they are set", "ops/optimizer.cu",
           "}\n  __syncthreads();\n  const Step step = constants;",
           "}\n  const Step step = constants;",
           "step_slots", "barriers: a step*"),
    Mutant("factors: the square is read before it is there", "ops/nmf.cu",
           "rank, rank, false, square);\n  __syncthreads();\n  if (!t.inside) return;\n  const C d",
           "rank, rank, false, square);\n  if (!t.inside) return;\n  const C d",
           "update_coef", "barriers: matrix*"),
    Mutant("factors: a line is written again while it is read", "ops/nmf.cu",
           "if (first) {\n    __syncthreads();", "if (first) {",
           "coef_gradients", "barriers: matrix*"),
    Mutant("sums by the last block: others' are not waited for", "kit/kernel.h",
           "__threadfence();\n    last =", "last =",
           "finish_by_last|last_to_arrive|branch_gradient|sum_rows", "barriers: the end of a branch"),
    # A barrier of a warp where the block must meet.
    Mutant("depth-wise taps: only warps meet", "ops/depthwise_march.h",
           "__syncthreads();", "__syncwarp();",
           "march_weights", "barriers: gradients of depth-wise*"),
    # Blocks of one warp, whose lanes alone are in each other's way.
    Mutant("upsampled loss: pixels are read before they are there", "ops/upsample_loss_backward.cu",
           "smooth_sum, tile);\n        __syncthreads();",
           "smooth_sum, tile);",
           "upsampled_gradient", "barriers: cross entropy of few*", "threads"),
    Mutant("upsampled loss: pixels are overwritten while they are read", "ops/upsample_loss_backward.cu",
           "smooth, cell);\n        __syncthreads();",
           "smooth, cell);",
           "upsampled_gradient", "barriers: cross entropy of few*", "threads"),
    # A buffer that is used again too early.
    Mutant("strips: one buffer instead of two", "ops/strips_march.h",
           "next.put(lines + (buffer ^ 1) * kLines);",
           "next.put(lines + buffer * kLines);",
           "march_strips", "barriers: strips"),
    # Blocks that overlap.
    Mutant("blocks of rows: one row too long", "kit/channels.h",
           "last = first + p.chunk < p.rows ? first + p.chunk : p.rows;",
           "last = first + p.chunk < p.rows ? first + p.chunk + 1 : p.rows;",
           "normalise", "barriers: batch norm*"),
    Mutant("rows of blocks: the first one too early", "kit/row_team.h",
           "first = static_cast<std::int64_t>(blockIdx.x) * teams;",
           "first = static_cast<std::int64_t>(blockIdx.x) * teams - (blockIdx.x > 0 ? 1 : 0);",
           "softmax_rows", "barriers: softmax*"),
    Mutant("strips: tiles begin a column too early", "ops/strips_march.h",
           "tile * kTile,",
           "tile * (kTile - 1),",
           "march_strips", "barriers: strips"),
    Mutant("optimiser: blocks one number too long", "ops/optimizer.cu",
           "static_cast<int>(left) : kPerBlock;",
           "static_cast<int>(left) : kPerBlock + 1;",
           "step_slots", "barriers: a step*"),
    # Streams and the host, without the event between them.
    Mutant("transfers: nobody waits for the copy", "device/transfer.cu",
           'cuda_check(cudaStreamWaitEvent(stream, buffer_.arrived, 0), "waiting for a copy");', "",
           "transfer.cu", "transfers:*"),
    Mutant("transfers: the device's half is overwritten while it is read", "device/transfer.cu",
           'cuda_check(cudaStreamWaitEvent(copying_, b.free, 0), "waiting for a buffer");', "",
           "transfer.cu", "transfers:*"),
    Mutant("transfers: the pinned half is overwritten while it is read", "device/transfer.cu",
           'cuda_check(cudaEventSynchronize(b.arrived), "waiting for a buffer");', "",
           "transfer.cu", "transfers:*"),
]


def fail(why):
    raise SystemExit("mutants.py: " + why)


def path_of(m):
    return ROOT / "cuda" / m.file


def build():
    ninja = subprocess.Popen(["ninja", "-C", BUILD, PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        says, _ = ninja.communicate()
    finally:
        if ninja.poll() is None:  # let it remove what it has half done, or that would pass for the mended source's
            ninja.terminate()
            ninja.wait()
    if ninja.returncode != 0:
        fail("the build failed:\n" + says)


def reports_of(m):
    """What ThreadSanitizer says of the mutant's cases, report by report; the program's own verdict."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "NEXTGRAD_TEST_DEVICE": "cuda", "OMP_NUM_THREADS": "1", "NEXTGRAD_RACES": m.context,
               "TSAN_OPTIONS": f"exitcode=0:log_path={folder}/report"}
        program = subprocess.Popen([BUILD / PROGRAM, "-tc=" + m.cases], env=env, stdout=subprocess.PIPE, text=True,
                                   start_new_session=True)
        try:
            says, _ = program.communicate(timeout=SECONDS)
        finally:
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
        if re.search(r"test cases: +0 \|", says):
            fail(f"no test is called {m.cases}")
        text = "".join(p.read_text(errors="replace") for p in pathlib.Path(folder).iterdir())
    reports = [r for r in re.split(r"^={18}$", text, flags=re.M) if "WARNING: ThreadSanitizer: data race" in r]
    return reports, program.returncode


def is_reported(m):
    """Breaks the source, builds, runs, and mends it again, whatever happens."""
    file = path_of(m)
    whole = file.read_text()
    try:
        file.write_text(whole.replace(m.old, m.new))
        build()
        reports, _ = reports_of(m)
    finally:
        file.write_text(whole)
    return any(re.search(m.report, line) for r in reports for line in r.splitlines())


def main():
    arguments = sys.argv[1:]
    if "-h" in arguments or "--help" in arguments:
        print(__doc__.strip())
        return
    if "--list" in arguments:
        for i, m in enumerate(MUTANTS, 1):
            print(f"{i:2} {m.name} ({m.file}, {m.context})")
        return
    chosen = [m for i, m in enumerate(MUTANTS, 1) if not arguments or str(i) in arguments or m.name in arguments]
    for a in arguments:
        if not any(a in (str(i), m.name) for i, m in enumerate(MUTANTS, 1)):
            fail(f"no mutant is called {a}; see --list")
    for m in MUTANTS:
        n = path_of(m).read_text().count(m.old)
        if n != 1:
            fail(f"{m.name}: cuda/{m.file} has {n} times, not once:\n{m.old}")
    files = sorted({"cuda/" + m.file for m in chosen})
    changed = subprocess.run(["git", "status", "--porcelain", "--", *files], cwd=ROOT, stdout=subprocess.PIPE,
                             text=True, check=True).stdout
    if changed:
        fail("these have changes, which would be mixed with mutants:\n" + changed)
    if not (BUILD / "build.ninja").exists():
        fail(f"nothing is built in {BUILD}: tests/run.sh --races mutants does it")
    for end in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, lambda *_: fail("interrupted"))

    build()
    for cases, context in sorted({(m.cases, m.context) for m in chosen}):
        m = next(m for m in chosen if (m.cases, m.context) == (cases, context))
        reports, status = reports_of(m)
        if reports or status != 0:
            fail(f"{cases}, {context}: not silent without a mutant, or failed ({status})\n" + "".join(reports[:1]))
    print("nothing is reported without a mutant", flush=True)
    found = 0
    for m in chosen:
        start = time.monotonic()
        reported = is_reported(m)
        found += reported
        print(f"{'reported' if reported else 'MISSED  '} {time.monotonic() - start:4.0f} s  {m.name}", flush=True)
    build()
    print(f"{found} of {len(chosen)} reported")
    sys.exit(found != len(chosen))


if __name__ == "__main__":
    main()

// The CPU's kernels are compiled once for every instruction set that this build serves: for x86-64
// as it is, for x86-64-v3 (AVX2) and x86-64-v4 (AVX-512) where meson's cpu_arch is "any"; once
// otherwise. The sources do not know: each set's objects are linked into one whose only name for
// others is its entry (link_kernels.sh).
#pragma once

namespace nextgrad {

class Backend;

namespace cpu {

// A CPU backend of the best of them (cpu_level()), with its fused ops or their compositions
// (fused.h).
Backend* make_backend(bool fused_ops = true);

}  // namespace cpu
}  // namespace nextgrad

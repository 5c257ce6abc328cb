#include "tensor/cpu/kernels.h"

#include <cstdlib>

#include "tensor/backend.h"
#include "tensor/error.h"

using MakeBackend = nextgrad::Backend*(bool fused_ops);
extern "C" {
#ifdef NEXTGRAD_LEVELS
MakeBackend nextgrad_kernels_base, nextgrad_kernels_v3, nextgrad_kernels_v4;
#else
MakeBackend nextgrad_kernels_built;
#endif
}

namespace nextgrad {

#ifdef NEXTGRAD_LEVELS

std::string_view cpu_level() {
  const char* set = std::getenv("NEXTGRAD_CPU_LEVEL");
  const std::string_view most = set == nullptr || *set == 0 ? "v4" : set;
  if (most != "base" && most != "v3" && most != "v4")
    fail_input("NEXTGRAD_CPU_LEVEL={}: there are base, v3 and v4", most);
  if (most == "v4" && __builtin_cpu_supports("x86-64-v4")) return "v4";
  if (most != "base" && __builtin_cpu_supports("x86-64-v3")) return "v3";
  return "base";
}

Backend* cpu::make_backend(bool fused_ops) {
  return of_cpu_level(&nextgrad_kernels_base, &nextgrad_kernels_v3,
                      &nextgrad_kernels_v4)(fused_ops);
}

#else

std::string_view cpu_level() {
  if (const char* set = std::getenv("NEXTGRAD_CPU_LEVEL"); set != nullptr && *set != 0)
    fail_input(
        "NEXTGRAD_CPU_LEVEL={}: this build has one set of kernels; build with "
        "-Dcpu_arch=any",
        set);
  return "built";
}

Backend* cpu::make_backend(bool fused_ops) {
  return nextgrad_kernels_built(fused_ops);
}

#endif

}  // namespace nextgrad

// segnext --version.
#include "apps/build_config.h"
#include "apps/commands/commands.h"
#include "apps/commit.h"

namespace nextgrad {
namespace {

// The widest vectors that the compiler was allowed to use.
constexpr const char* kVectors =
#if defined(__AVX512F__)
    "AVX-512";
#elif defined(__AVX2__)
    "AVX2";
#elif defined(__SSE2__)
    "SSE2";
#elif defined(__ARM_NEON)
    "NEON";
#else
    "no vectors";
#endif

}  // namespace

std::string version_text() {
  return fmt::format(
      "segnext {} (commit {}), MIT license\n"
      "built by {} for {} ({}, cpu_arch {}); {}\n"
      "linked: {{fmt}} (MIT), CLI11 (BSD-3-Clause), toml++ (MIT), nlohmann-json (MIT), "
      "libjpeg-turbo\n"
      "(IJG and BSD-3-Clause), libspng (BSD-2-Clause), libzip (BSD-3-Clause), zlib (Zlib), "
      "utf8proc\n"
      "(MIT and Unicode), Eigen (MPL-2.0), libgomp, libstdc++ (GPL-3 with the runtime exception), "
      "glibc\n(LGPL-2.1){}",
      NEXTGRAD_VERSION, NEXTGRAD_COMMIT, NEXTGRAD_COMPILER, NEXTGRAD_CPU, kVectors,
      NEXTGRAD_CPU_ARCH, *NEXTGRAD_CUDA == 0 ? std::string("without CUDA") : "with " NEXTGRAD_CUDA,
      *NEXTGRAD_CUDA == 0 ? "" : ", CUDA runtime and cuBLASLt (NVIDIA's EULA)");
}

}  // namespace nextgrad

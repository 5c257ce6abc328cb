// Before anything else runs, constructors of global objects included: does this processor have the
// instructions that the compiler was allowed to use (meson's cpu_arch)? If not, says so in one line
// instead of dying by SIGILL somewhere later.
#if defined(__x86_64__)

#include <unistd.h>

#include <cstring>

namespace {

// These functions must themselves run on any x86-64.
#define NEXTGRAD_BASELINE __attribute__((target("arch=x86-64"), noinline))

// The first instruction set that was compiled for and is not there, or null.
NEXTGRAD_BASELINE const char* missing_instructions() {
#define NEXTGRAD_REQUIRE(name) \
  if (!__builtin_cpu_supports(name)) return name
#ifdef __SSE4_2__
  NEXTGRAD_REQUIRE("sse4.2");
#endif
#ifdef __AVX__
  NEXTGRAD_REQUIRE("avx");
#endif
#ifdef __AVX2__
  NEXTGRAD_REQUIRE("avx2");
#endif
#ifdef __FMA__
  NEXTGRAD_REQUIRE("fma");
#endif
#ifdef __BMI2__
  NEXTGRAD_REQUIRE("bmi2");
#endif
#ifdef __AVX512F__
  NEXTGRAD_REQUIRE("avx512f");
#endif
#ifdef __AVX512BW__
  NEXTGRAD_REQUIRE("avx512bw");
#endif
#ifdef __AVX512DQ__
  NEXTGRAD_REQUIRE("avx512dq");
#endif
#ifdef __AVX512VL__
  NEXTGRAD_REQUIRE("avx512vl");
#endif
#ifdef __AVX512VBMI__
  NEXTGRAD_REQUIRE("avx512vbmi");
#endif
#ifdef __AVX512BF16__
  NEXTGRAD_REQUIRE("avx512bf16");
#endif
#undef NEXTGRAD_REQUIRE
  return nullptr;
}

NEXTGRAD_BASELINE void say(const char* text) {
  if (write(STDERR_FILENO, text, strlen(text)) < 0) _exit(1);
}

// 101: the first priority open to programs.
__attribute__((constructor(101))) NEXTGRAD_BASELINE void check_processor() {
  __builtin_cpu_init();
  const char* missing = missing_instructions();
  if (missing == nullptr) return;
  say("segnext: built for a processor with ");
  say(missing);
  say(", which this one lacks; build on this machine, or with meson setup -Dcpu_arch=");
  say(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? "x86-64-v3\n"
                                                                      : "generic\n");
  _exit(1);
}

#undef NEXTGRAD_BASELINE

}  // namespace

#endif

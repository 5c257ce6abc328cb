// Before anything else runs, constructors of global objects included: does this processor have the
// instructions that the compiler was allowed to use (meson's cpu_arch)? If not, says so in one line
// instead of dying by SIGILL somewhere later.
#if defined(__x86_64__)

#include <unistd.h>

#include <cstring>

namespace {

// These functions must themselves run on any x86-64.
#define NEXTGRAD_BASELINE __attribute__((target("arch=x86-64"), noinline))

// What a macro stands for, as text: "1" for that of an instruction set which the compiler was
// allowed to use, its own name where it is not defined.
#define NEXTGRAD_QUOTED(text) #text
#define NEXTGRAD_VALUE(macro) NEXTGRAD_QUOTED(macro)
#define NEXTGRAD_REQUIRE(macro, name) \
  if (NEXTGRAD_VALUE(macro)[0] == '1' && !__builtin_cpu_supports(name)) return name

// The first instruction set that was compiled for and is not there, or null.
NEXTGRAD_BASELINE const char* missing_instructions() {
  NEXTGRAD_REQUIRE(__SSE4_2__, "sse4.2");
  NEXTGRAD_REQUIRE(__AVX__, "avx");
  NEXTGRAD_REQUIRE(__AVX2__, "avx2");
  NEXTGRAD_REQUIRE(__FMA__, "fma");
  NEXTGRAD_REQUIRE(__BMI2__, "bmi2");
  NEXTGRAD_REQUIRE(__AVX512F__, "avx512f");
  NEXTGRAD_REQUIRE(__AVX512BW__, "avx512bw");
  NEXTGRAD_REQUIRE(__AVX512DQ__, "avx512dq");
  NEXTGRAD_REQUIRE(__AVX512VL__, "avx512vl");
  NEXTGRAD_REQUIRE(__AVX512VBMI__, "avx512vbmi");
  NEXTGRAD_REQUIRE(__AVX512BF16__, "avx512bf16");
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
  say(", which this one lacks; build with meson setup -Dcpu_arch=any\n");
  _exit(1);
}

#undef NEXTGRAD_BASELINE

}  // namespace

#endif

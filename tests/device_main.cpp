// main() of the tests that run on the device which NEXTGRAD_TEST_DEVICE names: without such a
// device they are skipped, and say so. With NEXTGRAD_TEST_PRIMITIVES they run on a CPU backend that
// overrides no fused op.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "tensor/backend.h"
#include "tensor/cpu/cpu_backend.h"
#include "tests/device.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;  // as automake and meson have it
  if (std::getenv("NEXTGRAD_TEST_PRIMITIVES") != nullptr)
    nextgrad::register_backend(nextgrad::Device::Kind::cpu, [](int) -> nextgrad::Backend* {
      return new nextgrad::cpu::CpuPrimitives;
    });
  try {
    nextgrad::backend_of(nextgrad::test::test_device());
  } catch (const std::exception& e) {
    std::printf("\n******** SKIPPED: NOTHING OF THIS WAS TESTED: %s ********\n\n", e.what());
    return kSkipped;
  }
  return doctest::Context(argc, argv).run();
}

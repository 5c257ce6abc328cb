// main() of the tests that run on the device which NEXTGRAD_TEST_DEVICE names: without such a device
// they are skipped, and say so.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "tensor/backend.h"
#include "tests/device.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;  // as automake and meson have it
  try {
    nextgrad::backend_of(nextgrad::test::test_device());
  } catch (const std::exception& e) {
    std::printf("\n******** SKIPPED: NOTHING OF THIS WAS TESTED: %s ********\n\n", e.what());
    return kSkipped;
  }
  return doctest::Context(argc, argv).run();
}

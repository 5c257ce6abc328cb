// main() of the tests that run on the device which NEXTGRAD_TEST_DEVICE names: without such a
// device they are skipped, and say so. With NEXTGRAD_TEST_PRIMITIVES they run on a CPU backend that
// overrides no fused op. Started by mpirun, root alone prints, and the others where they failed.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <iostream>
#include <sstream>

#include "tensor/backend.h"
#include "tensor/communicator.h"
#include "tensor/cpu/kernels.h"
#include "tests/device.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;  // as automake and meson have it
  if (std::getenv("NEXTGRAD_TEST_PRIMITIVES") != nullptr)
    nextgrad::register_backend(nextgrad::Device::Kind::cpu,
                               [](int) { return nextgrad::cpu::make_backend(false); });
  try {
    nextgrad::backend_of(nextgrad::test::test_device());
  } catch (const std::exception& e) {
    std::printf("\n******** SKIPPED: NOTHING OF THIS WAS TESTED: %s ********\n\n", e.what());
    return kSkipped;
  }
  nextgrad::Communicator& everyone = nextgrad::world();
  doctest::Context context(argc, argv);
  std::ostringstream text;
  if (!everyone.is_root()) context.setCout(&text);
  int code = context.run();
  try {
    if (code == 0) everyone.finish(0);
  } catch (const nextgrad::PeerFailure& e) {
    code = e.code();
  }
  if (code == 0) return 0;
  std::cerr << text.str();
  everyone.report_failure(code, "a test failed");
  everyone.leave(code);
  return code;
}

// The device that the tests of tensor/, autograd/, nn/ and models/ run on: the CPU, or what
// NEXTGRAD_TEST_DEVICE names.
#pragma once

#include <cstdlib>

#include "tensor/storage.h"

namespace nextgrad::test {

inline Device test_device() {
  const char* name = std::getenv("NEXTGRAD_TEST_DEVICE");
  return name == nullptr ? Device{} : Device::parse(name);
}

}  // namespace nextgrad::test

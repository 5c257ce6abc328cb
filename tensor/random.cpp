#include "tensor/random.h"

#include <cmath>
#include <numbers>

namespace nextgrad {

std::uint32_t RandomStream::next() {
  if (left_ == 0) {
    block_ = philox(counter_++, 0, 0, key_);
    left_ = 4;
  }
  return block_[4 - left_--];
}

double RandomStream::uniform() {
  const std::uint64_t high = next(), low = next();
  return static_cast<double>((high << 32 | low) >> 11) * 0x1p-53;
}

std::uint64_t RandomStream::below(std::uint64_t n) {
  // Numbers under 2^64 mod n would make small results likelier: draw again.
  const std::uint64_t reject = (0 - n) % n;
  for (;;) {
    const std::uint64_t high = next(), low = next();
    const std::uint64_t draw = high << 32 | low;
    if (draw >= reject) return draw % n;
  }
}

double RandomStream::normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

}  // namespace nextgrad

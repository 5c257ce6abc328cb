#include "tensor/random.h"

#include <cmath>
#include <numbers>

namespace nextgrad {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::uint64_t key) {
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

std::uint64_t RandomKey::mixed() const {
  const auto a = philox({static_cast<std::uint32_t>(iteration),
                         static_cast<std::uint32_t>(iteration >> 32), use, sample},
                        seed);
  return std::uint64_t{a[0]} | std::uint64_t{a[1]} << 32;
}

std::uint32_t RandomStream::next() {
  if (left_ == 0) {
    block_ = philox(
        {static_cast<std::uint32_t>(counter_), static_cast<std::uint32_t>(counter_ >> 32), 0, 0},
        key_);
    ++counter_;
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

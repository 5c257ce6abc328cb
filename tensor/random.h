// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). The same key and counter give the same numbers on every machine, device and
// number of threads; there is no state to save.
#pragma once

#include <array>
#include <cstdint>

namespace nextgrad {

// Philox4x32-10: four 32-bit numbers from a 128-bit counter and a 64-bit key; also on a GPU.
using PhiloxBlock = std::array<std::uint32_t, 4>;
constexpr PhiloxBlock philox(PhiloxBlock c, std::uint64_t key) {
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
// Of a counter whose lower half is `low`.
constexpr PhiloxBlock philox(std::uint64_t low, std::uint32_t third, std::uint32_t fourth,
                             std::uint64_t key) {
  return philox(
      {static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(low >> 32), third, fourth}, key);
}

// Names one stream of numbers.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t iteration = 0;
  std::uint32_t use = 0;     // which op or transform draws
  std::uint32_t sample = 0;  // which image of the batch or data set
  std::uint64_t first = 0;   // of the stream's numbers, the one that element 0 takes
  // 64-bit hash of all that names the stream, so not of `first`.
  constexpr std::uint64_t mixed() const {
    const PhiloxBlock a = philox(iteration, use, sample, seed);
    return std::uint64_t{a[0]} | std::uint64_t{a[1]} << 32;
  }
};

// A sequential reader of one stream, for host code (augmentation, initialisers).
class RandomStream {
 public:
  explicit RandomStream(const RandomKey& key) : key_(key.mixed()) {}
  std::uint32_t next();  // 32 random bits
  double uniform();      // [0, 1), 53 bits
  double uniform(double lo, double hi) { return lo + (hi - lo) * uniform(); }
  std::uint64_t below(std::uint64_t n);  // integer in [0, n), unbiased; n > 0
  double normal();                       // mean 0, variance 1 (Box-Muller)
  bool chance(double p) { return uniform() < p; }

 private:
  std::uint64_t key_;
  std::uint64_t counter_ = 0;
  PhiloxBlock block_{};
  int left_ = 0;
};

}  // namespace nextgrad

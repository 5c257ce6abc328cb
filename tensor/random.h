// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). The same key and counter give the same numbers on every machine, device and
// number of threads; there is no state to save.
#pragma once

#include <array>
#include <cstdint>

namespace nextgrad {

// Philox4x32-10: four 32-bit numbers from a 128-bit counter and a 64-bit key.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t key);

// Names one stream of numbers.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t iteration = 0;
  std::uint32_t use = 0;        // which op or transform draws
  std::uint32_t sample = 0;     // which image of the batch or data set
  std::uint64_t mixed() const;  // 64-bit hash of all four
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
  std::array<std::uint32_t, 4> block_{};
  int left_ = 0;
};

}  // namespace nextgrad

// What data/ draws. The `use` of RandomKey for it is distinct from the layers' small numbers.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "tensor/random.h"

namespace nextgrad {

inline constexpr std::uint32_t kUseShuffle = 0xDA7A0001;
inline constexpr std::uint32_t kUseAugment = 0xDA7A0002;
inline constexpr std::uint32_t kUseScene = 0xDA7A0003;
inline constexpr std::uint32_t kUseMix = 0xDA7A0004;

// An integer in [0, n).
inline std::int64_t below(std::int64_t n, RandomStream& random) {
  return static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(n)));
}

// Order of the samples of one epoch: a permutation of 0..n-1.
inline std::vector<std::int64_t> epoch_permutation(std::uint64_t seed, std::int64_t epoch,
                                                   std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  RandomStream random({seed, static_cast<std::uint64_t>(epoch), kUseShuffle, 0});
  for (std::size_t i = order.size(); i > 1; --i)  // Fisher and Yates
    std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace nextgrad

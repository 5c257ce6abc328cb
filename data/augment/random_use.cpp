#include "data/augment/random_use.h"

#include <numeric>
#include <utility>

namespace nextgrad {

std::vector<std::int64_t> epoch_permutation(std::uint64_t seed, std::int64_t epoch,
                                            std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  RandomStream random({seed, static_cast<std::uint64_t>(epoch), kUseShuffle, 0});
  for (std::size_t i = order.size(); i > 1; --i)  // Fisher and Yates
    std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace nextgrad

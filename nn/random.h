// The random context of the running iteration: dropout, drop path and the Hamburger's bases draw
// their keys here, in the order of their use.
#pragma once

#include <cstdint>
#include <functional>

#include "tensor/random.h"
#include "tensor/tensor.h"

namespace nextgrad {

struct RandomContext {
  std::uint64_t seed = 0, iteration = 0;
  std::uint64_t serial = 0;  // which scope: tells a replay that it came too late
  std::uint32_t use = 0;
};

// While it lives, this thread draws from (seed, iteration), use 0 first. Scopes nest. The backward
// of a recomputed() function that draws must run inside the scope of its forward (throws else).
class RandomScope {
 public:
  RandomScope(std::uint64_t seed, std::uint64_t iteration);
  ~RandomScope();
  RandomScope(const RandomScope&) = delete;
  RandomScope& operator=(const RandomScope&) = delete;

 private:
  RandomContext before_;  // of the scope around
};

// The next key of the current scope; outside any scope, of seed 0, iteration 0.
RandomKey next_random_key();
RandomKey coming_random_key();  // the same, which stays to be drawn
// What this process's share of the batch (share.h) has of random numbers whose first axis goes over
// all samples, one row or more a sample; `shape` is the share's. draw(shape, key) makes the numbers
// from key.first on.
using Draw = std::function<Tensor(const Shape&, const RandomKey&)>;
Tensor draw_share(const Shape& shape, const Draw& draw);

}  // namespace nextgrad

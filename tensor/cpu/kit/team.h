// Several phases in one parallel region: a second region costs a wake-up of the threads, which for
// a small tensor is as much as the work itself.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "tensor/backend.h"
#include "tensor/threads.h"

namespace nextgrad::cpu {

// Thread `index` of `size`.
struct Team {
  std::int64_t index, size;
  // This thread's piece [first, second) of [0, n).
  std::pair<std::int64_t, std::int64_t> share(std::int64_t n) const {
    return {n * index / size, n * (index + 1) / size};
  }
  // Returns when all threads have come here.
  void wait() const {
    if (size > 1) {
#pragma omp barrier
    }
  }
};

// Calls fn(team) on as many threads as n pieces of `grain` keep busy. fn must not throw: the others
// would wait for ever.
template <class Fn>
void parallel_team(std::int64_t n, std::int64_t grain, Fn&& fn) {
  const std::int64_t most = std::max<std::int64_t>(1, n / std::max<std::int64_t>(1, grain));
  const int threads = static_cast<int>(std::min<std::int64_t>(num_threads(), most));
  if (threads == 1 || omp_in_parallel()) {
    fn(Team{0, 1});
    return;
  }
#pragma omp parallel num_threads(threads)
  fn(Team{omp_get_thread_num(), omp_get_num_threads()});
}

}  // namespace nextgrad::cpu

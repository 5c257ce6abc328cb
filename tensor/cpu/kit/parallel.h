// Threads: a static split of [0, n) over the OpenMP team. The pieces depend on the number of
// threads, so a body must write disjoint results and never accumulate across indices; sums are
// split into a fixed number of pieces instead, combined in order.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <numeric>
#include <utility>
#include <vector>

#include "tensor/backend.h"
#include "tensor/threads.h"

namespace nextgrad::cpu {

// How many threads n indices keep busy, if `grain` of them are worth one.
inline int threads_for(std::int64_t n, std::int64_t grain) {
  return static_cast<int>(
      std::clamp<std::int64_t>(n / std::max<std::int64_t>(1, grain), 1, num_threads()));
}

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

// Calls fn(team) on so many threads, or on this one alone inside another region; throws what one of
// them threw.
template <class Fn>
void on_threads(int threads, Fn&& fn) {
  if (threads == 1 || omp_in_parallel()) return fn(Team{0, 1});
  std::exception_ptr error;
#pragma omp parallel num_threads(threads)
  try {
    fn(Team{omp_get_thread_num(), omp_get_num_threads()});
  } catch (...) {
#pragma omp critical(nextgrad_parallel_error)
    error = std::current_exception();
  }
  if (error) std::rethrow_exception(error);
}

// The same on as many threads as n pieces of `grain` keep busy, for several phases in one region: a
// second one costs a wake-up of the threads, which for a small tensor is as much as the work
// itself. fn must not throw: the others would wait for ever.
template <class Fn>
void parallel_team(std::int64_t n, std::int64_t grain, Fn&& fn) {
  on_threads(threads_for(n, grain), fn);
}

// Calls fn(begin, end) on pieces of [0, n) of at least `grain` indices each.
template <class Fn>
void parallel_for(std::int64_t n, std::int64_t grain, Fn&& fn) {
  on_threads(threads_for(n, grain), [&](const Team& team) {
    const auto [begin, end] = team.share(n);
    if (begin < end) fn(begin, end);
  });
}

// The same, index by index: calls fn(i).
template <class Fn>
void parallel_each(std::int64_t n, std::int64_t grain, Fn&& fn) {
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) fn(i);
  });
}

// Calls fn(i) for every task i of [0, n), handed out as threads come: for tasks of uneven cost.
template <class Fn>
void parallel_tasks(std::int64_t n, Fn&& fn) {
  std::atomic<std::int64_t> next = 0;
  on_threads(threads_for(n, 1), [&](const Team&) {
    for (std::int64_t i = 0; (i = next++) < n;) fn(i);
  });
}

// The sum over chunks of [0, n), of `chunk` indices, of fn(begin, end): chunks in order.
template <class Fn>
double sum_of_chunks(std::int64_t n, std::int64_t chunk, Fn&& fn) {
  const std::int64_t chunks = (n + chunk - 1) / chunk;
  std::vector<double> partial(chunks);
  parallel_each(chunks, 1,
                [&](std::int64_t k) { partial[k] = fn(k * chunk, std::min(n, (k + 1) * chunk)); });
  return std::accumulate(partial.begin(), partial.end(), 0.0);
}

}  // namespace nextgrad::cpu

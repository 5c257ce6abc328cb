// Threads: a static split of [0, n) over the OpenMP team. The pieces depend on the number of
// threads, so a body must write disjoint results and never accumulate across indices; sums are
// split into a fixed number of pieces instead, combined in order.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>

#include "tensor/backend.h"
#include "tensor/threads.h"

namespace nextgrad::cpu {

// Calls fn(begin, end) on pieces of [0, n) of at least `grain` indices each.
template <class Fn>
void parallel_for(std::int64_t n, std::int64_t grain, Fn&& fn) {
  if (n <= 0) return;
  const std::int64_t most = std::max<std::int64_t>(1, n / std::max<std::int64_t>(1, grain));
  const int threads = static_cast<int>(std::min<std::int64_t>(num_threads(), most));
  if (threads == 1 || omp_in_parallel()) {
    fn(std::int64_t{0}, n);
    return;
  }
  std::exception_ptr error;
#pragma omp parallel num_threads(threads)
  {
    const std::int64_t t = omp_get_thread_num(), of = omp_get_num_threads();
    try {
      if (n * t / of < n * (t + 1) / of) fn(n * t / of, n * (t + 1) / of);
    } catch (...) {
#pragma omp critical(nextgrad_parallel_error)
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

// Calls fn(i) for every task i of [0, n), handed out dynamically: for tasks of uneven cost.
template <class Fn>
void parallel_tasks(std::int64_t n, Fn&& fn) {
  const int threads = static_cast<int>(std::min<std::int64_t>(num_threads(), n));
  if (threads <= 1 || omp_in_parallel()) {
    for (std::int64_t i = 0; i < n; ++i) fn(i);
    return;
  }
  std::exception_ptr error;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (std::int64_t i = 0; i < n; ++i) {
    try {
      fn(i);
    } catch (...) {
#pragma omp critical(nextgrad_parallel_error)
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace nextgrad::cpu

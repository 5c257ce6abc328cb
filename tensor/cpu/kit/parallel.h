// Threads: work is cut into tasks, which are handed out as threads come.
//
//      thread 0  [0 1 2 3 4 5 6 7)           Each thread of a region has a run of tasks of its
//                        ^ next              own, the same in every region of so many, so that
//      thread 1  [8 9 10 11 12 13 14 15)     what it wrote last lies in its cache; then it goes
//                     ^ next                 on with what is left of the others' runs.
//
// The calling thread is thread 0 and begins at once. A region ends when all its tasks are done, not
// when all threads have come: one that the system does not run, because others want the cores,
// costs the tasks it has begun. (OpenMP's regions wait for every thread; beside another program
// they made a training four times slower.)
//
// A body must write disjoint results and never accumulate across indices, as pieces depend on the
// number of threads; sums are cut into a fixed number of pieces instead, added in order.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "tensor/threads.h"

namespace nextgrad::cpu {

// How many threads n indices keep busy, if `grain` of them are worth one: no region for work that
// is smaller than its meeting.
inline int threads_for(std::int64_t n, std::int64_t grain) {
  return static_cast<int>(
      std::clamp<std::int64_t>(n / std::max<std::int64_t>(1, grain), 1, num_threads()));
}

// Calls task(body, i) for every i of [0, n) on so many threads, or on this one alone inside another
// region and where another thread's region is running; throws what one of them threw.
void run_tasks(std::int64_t n, int threads, void (*task)(const void* body, std::int64_t i),
               const void* body);

// Calls fn(i) for every i of [0, n), each a task.
template <class Fn>
void parallel_tasks(std::int64_t n, Fn&& fn, int threads = num_threads()) {
  using Body = std::remove_reference_t<Fn>;
  run_tasks(
      n, static_cast<int>(std::min<std::int64_t>(n, threads)),
      [](const void* body, std::int64_t i) {
        (*const_cast<Body*>(static_cast<const Body*>(body)))(i);
      },
      &fn);
}

// Calls fn(begin, end) on pieces of [0, n) of at least `grain` indices each, a few for a thread.
template <class Fn>
void parallel_for(std::int64_t n, std::int64_t grain, Fn&& fn) {
  if (n <= 0) return;
  const int threads = threads_for(n, grain);
  if (threads == 1) return fn(std::int64_t{0}, n);
  constexpr std::int64_t kPieces = 4;
  const std::int64_t pieces = std::min(n / std::max<std::int64_t>(1, grain), kPieces * threads);
  parallel_tasks(
      pieces, [&](std::int64_t i) { fn(n * i / pieces, n * (i + 1) / pieces); }, threads);
}

// The same, index by index: calls fn(i).
template <class Fn>
void parallel_each(std::int64_t n, std::int64_t grain, Fn&& fn) {
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) fn(i);
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

// The pool of threads: every task once, whoever throws, nests, or calls at the same time.
#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tensor/cpu/kit/parallel.h"

using namespace nextgrad;
using namespace nextgrad::cpu;

namespace {

struct Threads {  // so many, while one lives
  explicit Threads(int n) : before(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
  int before;
};

}  // namespace

TEST_CASE("threads: every task is done once, in regions of any size that follow each other") {
  for (const int threads : {1, 2, 3, 8, 2})
    for (const std::int64_t n : {0, 1, 2, 7, 64, 1001}) {
      CAPTURE(threads);
      CAPTURE(n);
      const Threads some(threads);
      std::vector<std::atomic<int>> seen(static_cast<std::size_t>(n));
      for (int round = 0; round < 20; ++round)
        parallel_tasks(n, [&](std::int64_t i) { ++seen[static_cast<std::size_t>(i)]; });
      for (const auto& count : seen) CHECK(count == 20);
      std::vector<std::atomic<int>> pieces(static_cast<std::size_t>(n));
      parallel_for(n, 3, [&](std::int64_t begin, std::int64_t end) {
        CHECK(begin < end);
        for (; begin < end; ++begin) ++pieces[static_cast<std::size_t>(begin)];
      });
      for (const auto& count : pieces) CHECK(count == 1);
    }
}

TEST_CASE("threads: what a task throws comes out, and the next region is whole") {
  const Threads some(3);
  for (int round = 0; round < 50; ++round) {
    CHECK_THROWS_WITH_AS(parallel_tasks(40,
                                        [&](std::int64_t i) {
                                          if (i == round % 40) throw std::runtime_error("task");
                                        }),
                         "task", std::runtime_error);
    std::atomic<int> done = 0;
    parallel_tasks(40, [&](std::int64_t) { ++done; });
    CHECK(done == 40);
  }
}

TEST_CASE("threads: a region inside another, and regions of several threads at once") {
  const Threads some(4);
  std::atomic<std::int64_t> sum = 0;
  parallel_tasks(
      8, [&](std::int64_t i) { parallel_tasks(5, [&](std::int64_t j) { sum += 10 * i + j; }); });
  CHECK(sum == 8 * 10 + 5 * 10 * 28);
  std::vector<std::thread> callers;
  std::atomic<std::int64_t> total = 0;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round)
        parallel_tasks(16, [&](std::int64_t i) { total += i; });
    });
  for (std::thread& c : callers) c.join();
  CHECK(total == 4 * 200 * 120);
}

TEST_CASE("threads: one that comes late finds nothing, and nobody waits for it") {
  const Threads some(3);
  // Regions so short that most are over before another thread has come, on a stack that is gone.
  std::int64_t all = 0;
  for (int round = 0; round < 20000; ++round) {
    std::atomic<int> here = 0;
    parallel_tasks(3, [&](std::int64_t i) { here += static_cast<int>(i) + 1; });
    all += here;
  }
  CHECK(all == 20000 * 6);
}

TEST_CASE("threads: chunks are added in order, whatever the threads") {
  const auto sum = [](int threads) {
    const Threads some(threads);
    return sum_of_chunks(100003, 7, [](std::int64_t begin, std::int64_t end) {
      double s = 0;
      for (; begin < end; ++begin) s += 1.0 / static_cast<double>(begin + 1);
      return s;
    });
  };
  const double one = sum(1);
  for (const int threads : {2, 3, 5}) CHECK(sum(threads) == one);
}

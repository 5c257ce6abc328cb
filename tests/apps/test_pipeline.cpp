// Work beside the main thread: order, bounds and errors.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "apps/inference/pipeline.h"

using namespace nextgrad;

namespace {

void nap(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

}  // namespace

TEST_CASE("pipeline: results come in order, only so many ahead") {
  std::atomic<std::int64_t> begun = 0, used = 0, most = 0;
  Ahead<std::int64_t> squares(20, [&](std::int64_t i) {
    most = std::max(most.load(), ++begun - used);
    nap(i % 3 == 0 ? 5 : 0);  // the later ones are ready first
    return i * i;
  });
  for (std::int64_t i = 0; i < 20; ++i) {
    CHECK(squares.next() == i * i);
    ++used;
  }
  CHECK(begun == 20);
  CHECK(most <= static_cast<std::int64_t>(kPipelineDepth) + 1);
}

TEST_CASE("pipeline: the first error in order is told, when its turn comes") {
  Ahead<int> ahead(10, [](std::int64_t i) {
    nap(i == 2 ? 10 : 0);
    if (i >= 2) throw std::runtime_error(std::to_string(i));
    return static_cast<int>(i);
  });
  CHECK(ahead.next() == 0);
  CHECK(ahead.next() == 1);
  CHECK_THROWS_WITH(ahead.next(), "2");
  {
    const Ahead<int> unused(5, [](std::int64_t) { return 1; });
  }
}

TEST_CASE("pipeline: tasks left behind are all done, their first error is told") {
  std::atomic<int> done = 0, at_once = 0, most = 0;
  {
    Behind tasks;
    for (int i = 0; i < 12; ++i)
      tasks.begin([&] {
        most = std::max(most.load(), ++at_once);
        nap(1);
        --at_once, ++done;
      });
    tasks.finish();
    CHECK(done == 12);
    tasks.begin([&] { ++done; });
  }
  CHECK(most <= static_cast<int>(kPipelineDepth));
  Behind failing;
  for (const int i : {1, 2})
    failing.begin([i] {
      nap(i == 1 ? 10 : 0);
      throw std::runtime_error(std::to_string(i));
    });
  CHECK_THROWS_WITH(failing.finish(), "1");
}

// The GPU's caching allocator, over memory of the host.
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "cuda/device/allocator.h"
#include "tensor/error.h"

using namespace nextgrad;
using cuda::CachingAllocator;

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// A device of 256 MiB: addresses that are never touched.
class Source final : public cuda::MemorySource {
 public:
  explicit Source(std::size_t* used) : used_(used) {}
  ~Source() override { CHECK(segments_.empty()); }
  void* take(std::size_t bytes) override {
    if (*used_ + bytes > total()) return nullptr;
    *used_ += bytes;
    char* at = next_;
    next_ += bytes + 4096;
    segments_[at] = bytes;
    return at;
  }
  void give(void* segment) override {
    *used_ -= segments_.at(segment);
    segments_.erase(segment);
  }
  std::size_t total() override { return 256 * kMiB; }

 private:
  std::size_t* used_;
  char* next_ = reinterpret_cast<char*>(std::uintptr_t{1} << 40);
  std::map<void*, std::size_t> segments_;
};

struct Gpu {
  std::size_t used = 0;
  CachingAllocator allocator{std::make_unique<Source>(&used)};
};

}  // namespace

TEST_CASE("GPU allocator: blocks do not overlap, whatever the order, and all is given back") {
  Gpu d;
  std::mt19937 random(1);
  struct Block {
    char* begin;
    std::size_t bytes;
  };
  std::vector<Block> blocks;
  for (int step = 0; step < 20000; ++step) {
    if (blocks.size() < 40 && random() % 5 < 3) {
      const std::size_t bytes = random() % 3 == 0 ? random() % (6 * kMiB) : random() % 5000;
      auto* begin = static_cast<char*>(d.allocator.allocate(bytes));
      CHECK(reinterpret_cast<std::uintptr_t>(begin) % 512 == 0);
      for (const Block& b : blocks)
        REQUIRE((begin + bytes <= b.begin || b.begin + b.bytes <= begin || bytes == 0));
      blocks.push_back({begin, bytes});
    } else if (!blocks.empty()) {
      const std::size_t i = random() % blocks.size();
      d.allocator.release(blocks[i].begin);
      blocks[i] = blocks.back();
      blocks.pop_back();
    }
  }
  for (const Block& b : blocks) d.allocator.release(b.begin);
  CHECK(d.allocator.stats().live == 0);
  CHECK(d.allocator.stats().reserved == d.used);
  d.allocator.empty_cache();  // neighbours have joined: every segment is whole again
  CHECK(d.used == 0);
  CHECK(d.allocator.stats().reserved == 0);
  CHECK_THROWS_AS(d.allocator.release(&d), Error);
}

TEST_CASE("GPU allocator: equal steps need no new memory, and nothing leaks over 10,000 of them") {
  Gpu d;
  const auto step = [&] {
    std::vector<void*> held;
    for (const std::size_t bytes : {300 * kMiB / 10, 5 * kMiB, 700 * kMiB / 100, std::size_t{100}})
      held.push_back(d.allocator.allocate(bytes));
    for (void* p : held) d.allocator.release(p);
  };
  step();
  const std::size_t reserved = d.used;
  d.allocator.reset_peak();
  for (int i = 0; i < 10000; ++i) step();
  CHECK(d.used == reserved);
  CHECK(d.allocator.stats().live == 0);
  CHECK(d.allocator.stats().peak >= 42 * kMiB);
  CHECK(d.allocator.stats().peak < 43 * kMiB);
}

TEST_CASE("GPU allocator: out of memory is one line that says what to do, and not the end") {
  Gpu d;
  void* half = d.allocator.allocate(128 * kMiB);
  d.allocator.release(
      d.allocator.allocate(100 * kMiB));  // cached: given back when it is in the way
  void* more = d.allocator.allocate(120 * kMiB);
  try {
    d.allocator.allocate(20 * kMiB);
    FAIL("there was no such memory");
  } catch (const Error& e) {
    const std::string text = e.what();
    INFO(text);
    CHECK(text.find("20 MiB wanted, 248 MiB in use") != std::string::npos);
    CHECK(text.find("256 MiB in all") != std::string::npos);
    CHECK(text.find("lower the batch") != std::string::npos);
    CHECK(text.find('\n') == std::string::npos);
  }
  d.allocator.release(more);
  d.allocator.release(d.allocator.allocate(20 * kMiB));
  d.allocator.release(half);
}

TEST_CASE("GPU allocator: a graph's memory is its own until it is dropped") {
  Gpu d;
  void* kept = d.allocator.allocate(2 * kMiB);
  void* before = d.allocator.allocate(4 * kMiB);
  d.allocator.release(before);
  const auto pool = d.allocator.begin_pool();
  CHECK_THROWS_AS(d.allocator.begin_pool(), Error);
  void* inside = d.allocator.allocate(4 * kMiB);
  CHECK(inside != before);
  d.allocator.release(inside);
  CHECK(d.allocator.allocate(4 * kMiB) == inside);  // within the graph it is used again
  d.allocator.end_pool();
  void* outside = d.allocator.allocate(4 * kMiB);
  CHECK(outside == before);
  void* large = d.allocator.allocate(16 * kMiB);
  CHECK(large != inside);
  d.allocator.drop_pool(pool);
  d.allocator.release(inside);  // a result that outlives the graph
  d.allocator.empty_cache();
  d.allocator.release(kept);
  d.allocator.release(outside);
  d.allocator.release(large);
}

TEST_CASE("GPU allocator: what a capture reads and releases waits for the end of its graph") {
  Gpu d;
  void* read = d.allocator.allocate(4 * kMiB);
  const auto pool = d.allocator.begin_pool();
  d.allocator.release(read);
  void* inside = d.allocator.allocate(4 * kMiB);
  CHECK(inside != read);
  d.allocator.end_pool();
  CHECK(d.allocator.stats().live == 4 * kMiB);
  void* outside = d.allocator.allocate(4 * kMiB);
  CHECK(outside != read);
  for (void* block : {inside, outside}) d.allocator.release(block);
  d.allocator.empty_cache();
  const std::size_t used = d.used;
  CHECK(used >= 20 * kMiB);  // its replays read it
  d.allocator.drop_pool(pool);
  CHECK(d.allocator.allocate(4 * kMiB) == read);
  CHECK(d.used == used);
  d.allocator.release(read);
}

TEST_CASE("GPU allocator: nothing goes back to the device while a graph is captured") {
  Gpu d;
  void* older = d.allocator.allocate(100 * kMiB);
  d.allocator.release(d.allocator.allocate(100 * kMiB));
  const auto pool = d.allocator.begin_pool();
  CHECK(d.used == 100 * kMiB);  // what was free went before
  d.allocator.release(older);
  CHECK_THROWS_AS(d.allocator.allocate(200 * kMiB), OutOfMemory);
  CHECK(d.used == 100 * kMiB);
  d.allocator.end_pool();
  d.allocator.drop_pool(pool);
  d.allocator.release(d.allocator.allocate(200 * kMiB));
}

// The CPU's allocator: what is in use lies apart, what is free is used again whatever its size, and
// what lies idle goes back to the system.
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "tensor/cpu/allocator.h"
#include "tensor/error.h"

using namespace nextgrad;
using cpu::CachingAllocator;

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// Bytes of this process in memory; 0 where a sanitizer's own would be among them.
std::size_t resident() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return 0;
#endif
  std::size_t all = 0, here = 0;
  std::ifstream("/proc/self/statm") >> all >> here;
  return here * 4096;
}

// A tensor's memory, every byte written.
struct Block {
  CachingAllocator& allocator;
  std::size_t bytes;
  void* memory;
  Block(CachingAllocator& from, std::size_t size)
      : allocator(from), bytes(size), memory(from.allocate(size)) {
    std::memset(memory, 1, size);
  }
  Block(Block&& b) noexcept
      : allocator(b.allocator), bytes(b.bytes), memory(std::exchange(b.memory, nullptr)) {}
  ~Block() {
    if (memory != nullptr) allocator.release(memory, bytes);
  }
};

}  // namespace

TEST_CASE("allocator: blocks in use never overlap, whatever comes and goes") {
  CachingAllocator allocator;
  std::mt19937 random(7);
  std::map<std::byte*, std::size_t> used;
  std::size_t live = 0;
  for (int i = 0; i < 20000; ++i) {
    if (used.size() < 40 || random() % 2 == 0) {
      // Small, middling and large ones; none at all, too.
      const std::size_t bytes = random() % (std::size_t{1} << (random() % 23));
      auto* block = static_cast<std::byte*>(allocator.allocate(bytes));
      CHECK(reinterpret_cast<std::uintptr_t>(block) % 64 == 0);
      const auto after = used.lower_bound(block);
      if (after != used.end()) REQUIRE(block + bytes <= after->first);
      if (after != used.begin())
        REQUIRE(std::prev(after)->first + std::prev(after)->second <= block);
      if (bytes > 0) block[0] = block[bytes - 1] = std::byte{1};
      used.emplace(block, bytes);
      live += bytes;
    } else {
      const auto gone = std::next(used.begin(), random() % used.size());
      allocator.release(gone->first, gone->second);
      live -= gone->second;
      used.erase(gone);
    }
    if (i % 100 == 0) {
      const MemoryStats s = allocator.stats();
      CHECK(s.live >= live);
      CHECK(s.live <= live + used.size() * 128 + 64);
      CHECK(s.reserved >= s.live);
      CHECK(s.peak >= s.live);
    }
    if (i % 5000 == 0) allocator.empty_cache();
  }
  for (const auto& [block, bytes] : used) allocator.release(block, bytes);
  CHECK(allocator.stats().live == 0);
  allocator.empty_cache();
  CHECK(allocator.stats().reserved == 0);
}

TEST_CASE("allocator: 300 sizes need no more memory than the largest") {
  CachingAllocator allocator;
  const std::size_t before = resident();
  std::size_t sum = 0, most = 0;
  for (std::size_t i = 0; i < 300; ++i) {  // images of many sizes, each with a few activations
    std::vector<Block> blocks;
    for (const std::size_t part : {1, 3, 4})
      blocks.emplace_back(allocator, part * (kMiB + i * 7 % 60 * kMiB / 8 + i * 64));
    for (const Block& b : blocks) sum += b.bytes;
    most = std::max(most, allocator.stats().live);
    CHECK(allocator.stats().reserved <= most + most / 8);
  }
  CHECK(sum > 100 * most);
  CHECK(resident() < before + most + most / 8 + 16 * kMiB);
}

TEST_CASE("allocator: a step that repeats itself takes the blocks of the last one") {
  CachingAllocator allocator;
  const auto step = [&] {
    std::vector<Block> blocks;
    for (std::size_t k = 0; k < 40; ++k) {
      Block short_lived(allocator, (k * 7 % 40 + 1) * kMiB / 4);
      blocks.emplace_back(allocator, (k * 13 % 40 + 1) * kMiB / 4);
    }
    std::vector<void*> places;
    for (const Block& b : blocks) places.push_back(b.memory);
    return places;
  };
  for (int i = 0; i < 3; ++i) step();
  const auto first = step();
  const std::size_t reserved = allocator.stats().reserved;
  CHECK(step() == first);
  CHECK(allocator.stats().reserved == reserved);
  CHECK(reserved < allocator.stats().peak + allocator.stats().peak / 8);
}

TEST_CASE("allocator: pieces too small for what is wanted go back before more is taken") {
  CachingAllocator allocator;
  const std::size_t before = resident();
  std::vector<Block> kept;
  for (int round = 0; round < 3; ++round) {
    std::vector<Block> large;
    for (int i = 0; i < 8; ++i) {
      large.emplace_back(allocator, static_cast<std::size_t>(20 + 4 * round) * kMiB);
      kept.emplace_back(allocator, kMiB);
    }
  }
  std::vector<Block> larger;
  for (int i = 0; i < 3; ++i) larger.emplace_back(allocator, 70 * kMiB);
  const MemoryStats s = allocator.stats();
  CHECK(s.reserved <= s.peak + s.peak / 10);
  CHECK(resident() < before + s.peak + s.peak / 8 + 16 * kMiB);
  for (const Block& b : kept) CHECK(static_cast<const char*>(b.memory)[0] == 1);
}

TEST_CASE("allocator: what lies idle goes back, what is in use stays, and can be used again") {
  CachingAllocator allocator;
  std::vector<Block> kept;
  {
    std::vector<Block> large;
    for (int i = 0; i < 8; ++i) {
      large.emplace_back(allocator, 20 * kMiB);
      kept.emplace_back(allocator, kMiB);  // in between
    }
  }
  const std::size_t full = resident();
  CHECK(allocator.stats().reserved >= 168 * kMiB);
  SUBCASE("after a while, at the next release") {
    std::this_thread::sleep_for(cpu::kIdle + std::chrono::milliseconds(100));
    Block(allocator, 64);
  }
  SUBCASE("when told to") {
    allocator.empty_cache();
  }
  CHECK(allocator.stats().reserved < 40 * kMiB);
  CHECK((full == 0 || resident() + 120 * kMiB < full));
  for (const Block& b : kept) CHECK(static_cast<const char*>(b.memory)[kMiB - 1] == 1);
  std::vector<Block> again;
  for (int i = 0; i < 8; ++i) again.emplace_back(allocator, 19 * kMiB);
  CHECK(allocator.stats().reserved >= 160 * kMiB);
  CHECK(allocator.stats().reserved <= 176 * kMiB);
  for (const Block& b : kept) CHECK(static_cast<const char*>(b.memory)[0] == 1);
}

TEST_CASE("allocator: what is used all the time does not go back") {
  CachingAllocator allocator;
  Block(allocator, 64 * kMiB);
  const auto end = std::chrono::steady_clock::now() + 2 * cpu::kIdle;
  while (std::chrono::steady_clock::now() < end) {
    Block(allocator, 64 * kMiB);
    CHECK(allocator.stats().reserved >= 64 * kMiB);
  }
}

TEST_CASE("allocator: more than there is, is refused, and nothing is lost by it") {
  CachingAllocator allocator;
  const Block kept(allocator, kMiB);
  for (const std::size_t bytes : {std::size_t{1} << 50, ~std::size_t{0}, ~std::size_t{0} - 70})
    CHECK_THROWS_WITH_AS(allocator.allocate(bytes), doctest::Contains("out of memory"),
                         OutOfMemory);
  CHECK(allocator.stats().live == kMiB + cpu::kFence);
  const Block more(allocator, kMiB);
  CHECK(allocator.stats().live == 2 * (kMiB + cpu::kFence));
}

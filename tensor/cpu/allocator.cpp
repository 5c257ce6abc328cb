#include "tensor/cpu/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "tensor/error.h"

namespace nextgrad::cpu {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Size classes: an eighth of a power of two apart, so that at most 12.5 % is wasted and tensors of
// slightly different sizes share blocks.
std::size_t size_class(std::size_t bytes) {
  if (bytes <= 512) return 512;
  const std::size_t step = std::bit_floor(bytes) / 8;
  return (bytes + step - 1) / step * step;
}

// Large blocks are mapped one by one: malloc() would keep them to itself once they are released.
// Their sizes are whole pages, as size classes of an eighth of 2 MiB and more are.
void* take(std::size_t bytes) {
  if (bytes < kHugePage)
    return std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  void* const mapped =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(mapped) % kHugePage;
  std::byte* const block = static_cast<std::byte*>(mapped) + before;
  if (before > 0) munmap(mapped, before);
  munmap(block + bytes, kHugePage - before);
#ifdef MADV_HUGEPAGE
  madvise(block, bytes, MADV_HUGEPAGE);
#endif
  return block;
}

void give_back(void* block, std::size_t bytes) {
  if (bytes < kHugePage)
    std::free(block);
  else
    munmap(block, bytes);
}

}  // namespace

CachingAllocator::~CachingAllocator() {
  trim(0);
}

void* CachingAllocator::allocate(std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  const std::scoped_lock lock(mutex_);
  void* block = nullptr;
  // A free block up to half as large again will do: steps of many shapes then need fewer blocks.
  const auto found = free_.lower_bound(size);
  if (found != free_.end() && found->first <= size + size / 2) {
    block = found->second.back().block;
    found->second.pop_back();
    if (found->first != size) larger_[block] = found->first;
    if (found->second.empty()) free_.erase(found);
  } else {
    const std::size_t most = 2 * std::max(most_, stats_.live + size);
    if (stats_.reserved + size > most) trim(most - size);
    block = take(size);
    if (block == nullptr) {
      trim(0);
      block = take(size);
    }
    if (block == nullptr)
      throw OutOfMemory(
          fmt::format("out of memory: {} MiB wanted, {} MiB in use; lower the batch or the image "
                      "size",
                      bytes >> 20, stats_.live >> 20));
    stats_.reserved += size;
  }
  stats_.live += size;
  most_ = std::max(most_, stats_.live);
  stats_.peak = std::max(stats_.peak, stats_.live);
  return block;
}

void CachingAllocator::release(void* block, std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  const std::scoped_lock lock(mutex_);
  const auto larger = larger_.find(block);
  free_[larger != larger_.end() ? larger->second : size].push_back({block, releases_++});
  if (larger != larger_.end()) larger_.erase(larger);
  stats_.live -= size;
}

MemoryStats CachingAllocator::stats() const {
  const std::scoped_lock lock(mutex_);
  return stats_;
}

void CachingAllocator::reset_peak() {
  const std::scoped_lock lock(mutex_);
  stats_.peak = stats_.live;
}

void CachingAllocator::empty_cache() {
  const std::scoped_lock lock(mutex_);
  trim(0);
}

void CachingAllocator::trim(std::size_t reserved) {
  while (stats_.reserved > reserved && !free_.empty()) {
    const auto oldest = std::min_element(free_.begin(), free_.end(), [](auto& a, auto& b) {
      return a.second.front().released < b.second.front().released;
    });
    give_back(oldest->second.front().block, oldest->first);
    stats_.reserved -= oldest->first;
    oldest->second.erase(oldest->second.begin());
    if (oldest->second.empty()) free_.erase(oldest);
  }
}

}  // namespace nextgrad::cpu

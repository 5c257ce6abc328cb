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

void* take(std::size_t bytes) {
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  void* block = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
#ifdef MADV_HUGEPAGE
  if (block != nullptr && alignment == kHugePage) madvise(block, bytes, MADV_HUGEPAGE);
#endif
  return block;
}

}  // namespace

CachingAllocator::~CachingAllocator() {
  trim();
}

void* CachingAllocator::allocate(std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  const std::scoped_lock lock(mutex_);
  void* block = nullptr;
  // A free block up to half as large again will do: steps of many shapes then need fewer blocks.
  auto found = free_.lower_bound(size);
  while (found != free_.end() && found->second.empty()) found = free_.erase(found);
  if (found != free_.end() && found->first <= size + size / 2) {
    block = found->second.back();
    found->second.pop_back();
    if (found->first != size) larger_[block] = found->first;
  } else {
    block = take(size);
    if (block == nullptr) {
      trim();
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
  stats_.peak = std::max(stats_.peak, stats_.live);
  return block;
}

void CachingAllocator::release(void* block, std::size_t bytes) {
  const std::size_t size = size_class(bytes);
  const std::scoped_lock lock(mutex_);
  const auto larger = larger_.find(block);
  free_[larger != larger_.end() ? larger->second : size].push_back(block);
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
  trim();
}

void CachingAllocator::trim() {
  for (auto& [size, blocks] : free_) {
    for (void* block : blocks) std::free(block);
    stats_.reserved -= size * blocks.size();
    blocks.clear();
  }
}

}  // namespace nextgrad::cpu

// The CPU's caching allocator: a released block is kept by size class and handed out again, so that
// an activation of many pages is not mapped and faulted anew in every step.
#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "tensor/storage.h"

namespace nextgrad::cpu {

class CachingAllocator {
 public:
  ~CachingAllocator();
  void* allocate(std::size_t bytes);  // 64-byte aligned; throws Error when memory runs out
  void release(void* block, std::size_t bytes);
  MemoryStats stats() const;
  void reset_peak();
  void empty_cache();

 private:
  void trim();  // frees cached blocks; mutex_ held

  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> free_;  // by size class
  std::unordered_map<void*, std::size_t> larger_;  // blocks in use that are larger than their class
  MemoryStats stats_;
};

}  // namespace nextgrad::cpu

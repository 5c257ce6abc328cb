// The CPU's caching allocator: a released block is kept by size class and handed out again, so that
// an activation of many pages is not mapped and faulted anew in every step. What is taken from the
// system, used or kept, is at most twice the most that was ever in use: where more is wanted, as
// images of ever other sizes do, the blocks that were released longest ago go back first.
#pragma once

#include <cstddef>
#include <cstdint>
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
  struct Kept {
    void* block;
    std::uint64_t released;  // when, in calls of release()
  };
  // Gives cached blocks back, the oldest first, until `reserved` are left at most; mutex_ held.
  void trim(std::size_t reserved);

  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<Kept>> free_;  // by size class, the latest released last
  std::unordered_map<void*, std::size_t> larger_;  // blocks in use that are larger than their class
  std::uint64_t releases_ = 0;
  std::size_t most_ = 0;  // that was ever in use
  MemoryStats stats_;
};

}  // namespace nextgrad::cpu

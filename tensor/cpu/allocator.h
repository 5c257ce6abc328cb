// The CPU's caching allocator. Tensors lie side by side in one range of addresses; what is released
// joins its free neighbours, and a new tensor takes the smallest free piece that it fits into:
//
//      0                                                     top
//      [tensor][tensor]......[tensor]..[tensor]--------------)       addresses never touched
//                      free         free       given back
//
// so that images of ever other sizes need no more than the largest of them, and a step that repeats
// itself no new pages. What lay free for kIdle goes back to the system, at the next call; and where
// no free piece is large enough, the oldest do, so that what is in memory stays within a sixteenth
// of the most that was ever in use. Small tensors have a range of their own, as they would cut up
// the other.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <set>

#include "tensor/storage.h"

namespace nextgrad::cpu {

using AllocatorClock = std::chrono::steady_clock;
inline constexpr std::chrono::milliseconds kIdle{2000};
#ifdef __SANITIZE_ADDRESS__
inline constexpr std::size_t kFence = 64;  // bytes after each tensor that nobody may touch
#else
inline constexpr std::size_t kFence = 0;
#endif

// One such range.
class Arena {
 public:
  explicit Arena(bool huge_pages);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  // 64-byte aligned. Null where no free piece is large enough; at the top, where there is no
  // memory.
  void* allocate(std::size_t bytes);
  void* allocate_at_top(std::size_t bytes);
  void release(void* block, std::size_t bytes, AllocatorClock::time_point now);
  // What was released until then, the oldest first, while more than `most` bytes are reserved.
  void give_back(AllocatorClock::time_point released_until, std::size_t most);
  std::size_t reserved() const { return top_ - given_; }  // bytes that may be in memory

 private:
  struct Free {
    std::size_t bytes;
    AllocatorClock::time_point released;
    bool given;  // its whole pages went back
  };
  using Pieces = std::map<std::size_t, Free>;  // by place; no two are neighbours
  void add(std::size_t at, const Free& piece);
  Free remove(Pieces::iterator piece);
  Pieces::iterator find(std::size_t bytes);
  void* cut(Pieces::iterator piece, std::size_t bytes);
  void give_back(Pieces::iterator piece);
  std::pair<std::size_t, std::size_t> pages_within(std::size_t at, std::size_t bytes) const;

  std::size_t page_, size_ = 0, writable_ = 0, top_ = 0, given_ = 0;
  std::byte* base_ = nullptr;
  Pieces free_;
  std::set<std::pair<std::size_t, std::size_t>>
      by_size_[2];  // bytes and place; of those given back
};

class CachingAllocator {
 public:
  void* allocate(std::size_t bytes);  // 64-byte aligned; throws OutOfMemory
  void release(void* block, std::size_t bytes);
  MemoryStats stats() const;
  void reset_peak();
  void empty_cache();

 private:
  Arena& arena_for(std::size_t bytes);

  mutable std::mutex mutex_;
  Arena small_{false}, large_{true};
  AllocatorClock::time_point looked_ = AllocatorClock::now();  // for what lies idle
  std::size_t most_ = 0;                                       // that was ever in use
  MemoryStats stats_;
};

}  // namespace nextgrad::cpu

// The caching allocator of one GPU: blocks are cut from large segments and joined again when they
// are free. A freed block may be handed out at once, as all work of a device is on one stream and
// so runs in the order in which it was submitted (stream-ordered): no call waits.
//
// While a graph is captured, memory comes from a pool of that graph, which nobody else gets until
// the graph is gone: its kernels keep these addresses. So do they those of older tensors that are
// released meanwhile: nobody gets these until then, nor does the graph itself, whose next replay
// reads them again.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "tensor/storage.h"

namespace nextgrad::cuda {

// Where segments come from: cudaMalloc, or the test's own.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  virtual void* take(std::size_t bytes) = 0;  // null if there is no more
  virtual void give(void* segment) = 0;
  virtual std::size_t total() = 0;  // bytes of the device
  // For checkers: [block, block + bytes) is in use from now on, or no longer.
  virtual void opened(void*, std::size_t) {}
  virtual void closed(void*, std::size_t) {}
};

class CachingAllocator {
 public:
  using Pool = int;  // 0: the common one

  explicit CachingAllocator(std::unique_ptr<MemorySource> source);
  ~CachingAllocator();
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  // At least `bytes`, aligned to 512. Throws Error if there is no more, saying how much is in use.
  void* allocate(std::size_t bytes);
  void release(void* block);
  MemoryStats stats() const;
  void reset_peak();
  void empty_cache();  // gives back segments that are wholly free

  // Until end_pool(), blocks come from a new pool. A pool's blocks return to it.
  Pool begin_pool();
  void end_pool();
  // The pool's memory joins the common one, as blocks of it become free.
  void drop_pool(Pool pool);

 private:
  using Address = std::byte*;
  struct Block {
    std::size_t bytes;
    Pool pool;
    bool free, small;
    Address segment;
  };
  using Blocks = std::map<Address, Block>;
  using FreeList = std::set<std::pair<std::size_t, Address>>;

  // A free block, taken off its list, or end(); `any`: also one that is much too large.
  Blocks::iterator find(std::size_t bytes, bool small, bool any = false);
  Blocks::iterator grow(std::size_t bytes, bool small);
  void split(Blocks::iterator block, std::size_t bytes);
  Blocks::iterator join(Blocks::iterator left, Blocks::iterator right);
  void set_free(Blocks::iterator block);
  void trim();
  FreeList& list(const Block& b) { return free_[{b.pool, b.small}]; }

  mutable std::mutex mutex_;
  std::unique_ptr<MemorySource> source_;
  MemoryStats stats_;
  Pool current_ = 0, newest_ = 0;
  std::set<Pool> dropped_;
  Blocks blocks_;  // free or in use; neighbours in a segment follow one another
  std::map<std::pair<Pool, bool>, FreeList> free_;
  std::map<Pool, std::vector<Address>> held_;  // the common pool's, released in a capture
};

}  // namespace nextgrad::cuda

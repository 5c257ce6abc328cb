#include "cuda/device/allocator.h"

#include <algorithm>

#include "tensor/error.h"

namespace nextgrad::cuda {
namespace {

// Small blocks live in segments of their own, so that they do not cut up the large ones. Sizes are
// those of PyTorch's allocator, which has proved them.
constexpr std::size_t kGrain = 512;
constexpr std::size_t kSmall = std::size_t{1} << 20;  // at most this is small
constexpr std::size_t kSmallSegment = std::size_t{2} << 20;
constexpr std::size_t kMiddle = std::size_t{10} << 20;  // up to this shares a segment
constexpr std::size_t kMiddleSegment = std::size_t{20} << 20;
constexpr std::size_t kPage = std::size_t{2} << 20;

std::size_t round_up(std::size_t bytes, std::size_t grain) {
  return (bytes + grain - 1) / grain * grain;
}

}  // namespace

CachingAllocator::CachingAllocator(std::unique_ptr<MemorySource> source)
    : source_(std::move(source)) {}

CachingAllocator::~CachingAllocator() {
  for (Pool pool = 1; pool <= newest_; ++pool) drop_pool(pool);
  trim();
}

CachingAllocator::Block* CachingAllocator::find(std::size_t bytes, bool small, bool any) {
  FreeList& free = free_[{current_, small}];
  Block key{nullptr, bytes, current_, true, small, nullptr};
  const auto found = free.lower_bound(&key);
  if (found == free.end()) return nullptr;
  Block* block = *found;
  // A much larger block is kept for what needs it.
  if (!any && !small && bytes >= kMiddle && block->bytes > bytes + bytes / 4 + kMiddleSegment)
    return nullptr;
  free.erase(found);
  return block;
}

CachingAllocator::Block* CachingAllocator::grow(std::size_t bytes, bool small) {
  const std::size_t size = small              ? kSmallSegment
                           : bytes <= kMiddle ? kMiddleSegment
                                              : round_up(bytes, kPage);
  void* segment = source_->take(size);
  if (segment == nullptr) {
    trim();
    segment = source_->take(size);
  }
  if (segment == nullptr) return nullptr;
  stats_.reserved += size;
  return new Block{static_cast<std::byte*>(segment), size, current_, true, small, segment};
}

// Cuts what `block` has beyond `bytes` off as a free block.
void CachingAllocator::split(Block* block, std::size_t bytes) {
  const std::size_t rest = block->bytes - bytes;
  if (rest < (block->small ? kGrain : kSmall)) return;
  auto* tail = new Block{block->begin + bytes, rest,           block->pool, true,
                         block->small,         block->segment, block,       block->after};
  if (block->after != nullptr) block->after->before = tail;
  block->after = tail;
  block->bytes = bytes;
  list(*tail).insert(tail);
}

CachingAllocator::Block* CachingAllocator::join(Block* left, Block* right) {
  left->bytes += right->bytes;
  left->after = right->after;
  if (right->after != nullptr) right->after->before = left;
  delete right;
  return left;
}

void* CachingAllocator::allocate(std::size_t bytes) {
  const std::size_t size = round_up(std::max<std::size_t>(bytes, 1), kGrain);
  const bool small = size <= kSmall;
  const std::scoped_lock lock(mutex_);
  Block* block = find(size, small);
  if (block == nullptr) block = grow(size, small);
  if (block == nullptr) block = find(size, small, true);
  if (block == nullptr) {
    throw OutOfMemory(fmt::format(
        "out of memory on the GPU: {} MiB wanted, {} MiB in use by tensors, {} MiB reserved, of "
        "{} MiB in all; lower the batch or the image size, or use --precision bf16 or --recompute",
        (bytes + (1 << 20) - 1) >> 20, stats_.live >> 20, stats_.reserved >> 20,
        source_->total() >> 20));
  }
  split(block, size);
  block->free = false;
  used_[block->begin] = block;
  stats_.live += block->bytes;
  stats_.peak = std::max(stats_.peak, stats_.live);
  source_->opened(block->begin, bytes);
  return block->begin;
}

void CachingAllocator::release(void* memory) {
  const std::scoped_lock lock(mutex_);
  const auto found = used_.find(memory);
  check(found != used_.end(), "a block was released that is not in use");
  Block* block = found->second;
  used_.erase(found);
  stats_.live -= block->bytes;
  // What a graph does in its memory it does again in every replay.
  if (block->pool == 0) source_->closed(block->begin, block->bytes);
  block->free = true;
  if (dropped_.count(block->pool) != 0) block->pool = 0;
  for (Block* next = block->after; next != nullptr && next->free && next->pool == block->pool;
       next = block->after) {
    list(*next).erase(next);
    join(block, next);
  }
  if (Block* before = block->before;
      before != nullptr && before->free && before->pool == block->pool) {
    list(*before).erase(before);
    block = join(before, block);
  }
  list(*block).insert(block);
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

CachingAllocator::Pool CachingAllocator::begin_pool() {
  const std::scoped_lock lock(mutex_);
  check(current_ == 0, "a graph is being captured already");
  return current_ = ++newest_;
}

void CachingAllocator::end_pool() {
  const std::scoped_lock lock(mutex_);
  current_ = 0;
}

void CachingAllocator::drop_pool(Pool pool) {
  const std::scoped_lock lock(mutex_);
  dropped_.insert(pool);
  for (const bool small : {false, true}) {
    const FreeList blocks = std::move(free_[{pool, small}]);
    free_.erase({pool, small});
    for (Block* block : blocks) {
      block->pool = 0;
      list(*block).insert(block);
    }
  }
}

void CachingAllocator::trim() {
  for (auto& [key, blocks] : free_) {
    // A graph's pool stays: its kernels write there although no tensor does.
    if (key.first != 0) continue;
    for (auto at = blocks.begin(); at != blocks.end();) {
      Block* block = *at;
      if (block->before != nullptr || block->after != nullptr) {
        ++at;
        continue;
      }
      at = blocks.erase(at);
      source_->give(block->segment);
      stats_.reserved -= block->bytes;
      delete block;
    }
  }
}

}  // namespace nextgrad::cuda

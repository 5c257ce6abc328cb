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

CachingAllocator::Blocks::iterator CachingAllocator::find(std::size_t bytes, bool small, bool any) {
  FreeList& free = free_[{current_, small}];
  const auto found = free.lower_bound({bytes, nullptr});
  if (found == free.end()) return blocks_.end();
  // A much larger block is kept for what needs it.
  if (!any && !small && bytes >= kMiddle && found->first > bytes + bytes / 4 + kMiddleSegment)
    return blocks_.end();
  const auto block = blocks_.find(found->second);
  free.erase(found);
  return block;
}

CachingAllocator::Blocks::iterator CachingAllocator::grow(std::size_t bytes, bool small) {
  const std::size_t size = small              ? kSmallSegment
                           : bytes <= kMiddle ? kMiddleSegment
                                              : round_up(bytes, kPage);
  auto segment = static_cast<Address>(source_->take(size));
  if (segment == nullptr && current_ == 0) {
    trim();
    segment = static_cast<Address>(source_->take(size));
  }
  if (segment == nullptr) return blocks_.end();
  stats_.reserved += size;
  return blocks_.insert({segment, {size, current_, true, small, segment}}).first;
}

// Cuts what `block` has beyond `bytes` off as a free block.
void CachingAllocator::split(Blocks::iterator block, std::size_t bytes) {
  Block tail = block->second;
  tail.bytes -= bytes;
  if (tail.bytes < (tail.small ? kGrain : kSmall)) return;
  block->second.bytes = bytes;
  blocks_.insert({block->first + bytes, tail});
  list(tail).insert({tail.bytes, block->first + bytes});
}

// Neither may be listed afterwards.
CachingAllocator::Blocks::iterator CachingAllocator::join(Blocks::iterator left,
                                                          Blocks::iterator right) {
  for (const auto& [address, block] : {*left, *right}) list(block).erase({block.bytes, address});
  left->second.bytes += right->second.bytes;
  blocks_.erase(right);
  return left;
}

void* CachingAllocator::allocate(std::size_t bytes) {
  const std::size_t size = round_up(std::max<std::size_t>(bytes, 1), kGrain);
  const bool small = size <= kSmall;
  const std::scoped_lock lock(mutex_);
  auto found = find(size, small);
  if (found == blocks_.end()) found = grow(size, small);
  if (found == blocks_.end()) found = find(size, small, true);
  if (found == blocks_.end()) {
    throw OutOfMemory(fmt::format(
        "out of memory on the GPU: {} MiB wanted, {} MiB in use by tensors, {} MiB reserved, of "
        "{} MiB in all; lower the batch or the image size, or use --precision bf16 or --recompute",
        (bytes + (1 << 20) - 1) >> 20, stats_.live >> 20, stats_.reserved >> 20,
        source_->total() >> 20));
  }
  split(found, size);
  found->second.free = false;
  stats_.live += found->second.bytes;
  stats_.peak = std::max(stats_.peak, stats_.live);
  source_->opened(found->first, bytes);
  return found->first;
}

void CachingAllocator::release(void* memory) {
  const std::scoped_lock lock(mutex_);
  auto at = blocks_.find(static_cast<Address>(memory));
  check(at != blocks_.end() && !at->second.free, "a block was released that is not in use");
  Block& block = at->second;
  stats_.live -= block.bytes;
  if (current_ != 0 && block.pool == 0) {
    held_[current_].push_back(at->first);
    return;
  }
  set_free(at);
}

void CachingAllocator::set_free(Blocks::iterator at) {
  Block& block = at->second;
  // What a graph does in its memory it does again in every replay.
  if (block.pool == 0) source_->closed(at->first, block.bytes);
  block.free = true;
  if (dropped_.count(block.pool) != 0) block.pool = 0;
  const auto joins = [&](const Block& b) {
    return b.free && b.pool == block.pool && b.segment == block.segment;
  };
  if (const auto after = std::next(at); after != blocks_.end() && joins(after->second))
    join(at, after);
  if (at != blocks_.begin() && joins(std::prev(at)->second)) at = join(std::prev(at), at);
  list(at->second).insert({at->second.bytes, at->first});
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
  trim();  // as grow() must not, from now on
  return current_ = ++newest_;
}

void CachingAllocator::end_pool() {
  const std::scoped_lock lock(mutex_);
  current_ = 0;
}

void CachingAllocator::drop_pool(Pool pool) {
  const std::scoped_lock lock(mutex_);
  dropped_.insert(pool);
  for (const Address address : held_[pool]) set_free(blocks_.find(address));
  held_.erase(pool);
  for (const bool small : {false, true}) {
    FreeList& blocks = free_[{pool, small}];
    for (const auto& [bytes, address] : blocks) blocks_.at(address).pool = 0;
    free_[{0, small}].merge(blocks);
    free_.erase({pool, small});
  }
}

void CachingAllocator::trim() {
  for (auto next = blocks_.begin(); next != blocks_.end();) {
    const auto at = next++;
    const auto& [address, block] = *at;
    const bool whole = address == block.segment &&
                       (next == blocks_.end() || next->second.segment != block.segment);
    // A graph's pool stays: its kernels write there although no tensor does.
    if (!whole || !block.free || block.pool != 0) continue;
    list(block).erase({block.bytes, address});
    source_->give(block.segment);
    stats_.reserved -= block.bytes;
    blocks_.erase(at);
  }
}

}  // namespace nextgrad::cuda

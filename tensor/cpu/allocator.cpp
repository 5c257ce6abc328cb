#include "tensor/cpu/allocator.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tensor/error.h"

// Under AddressSanitizer what is free, and a line after each tensor, may not be touched.
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#endif

namespace nextgrad::cpu {

namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kPage = 4096, kHugePage = std::size_t{2} << 20;
constexpr std::size_t kSmall = std::size_t{1} << 20;    // smaller tensors lie in the small arena
constexpr std::size_t kGrowth = std::size_t{32} << 20;  // made writable at a time

std::size_t round_up(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}

std::size_t place_of(std::size_t bytes) {
  return round_up(std::max<std::size_t>(bytes, 1), kLine) + kFence;
}

// With what it may swap.
std::size_t memory_of_machine() {
  static const std::size_t all = [] {
    struct sysinfo info {};
    sysinfo(&info);
    return (static_cast<std::size_t>(info.totalram) + info.totalswap) * info.mem_unit;
  }();
  return all;
}

// Addresses cost nothing, but where they are limited (ulimit -v) others want some, too.
std::size_t addresses() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    return std::min<std::size_t>(limit.rlim_cur / 4, 2 * memory_of_machine());
  return 2 * memory_of_machine();
}

}  // namespace

Arena::Arena(bool huge_pages) : page_(huge_pages ? kHugePage : kPage) {
  const std::size_t wanted = round_up(addresses(), kHugePage);
  void* const mapped = mmap(nullptr, wanted + kHugePage, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return;
  base_ = static_cast<std::byte*>(mapped) +
          (round_up(reinterpret_cast<std::uintptr_t>(mapped), kHugePage) -
           reinterpret_cast<std::uintptr_t>(mapped));
  munmap(mapped, static_cast<std::size_t>(base_ - static_cast<std::byte*>(mapped)));
  size_ = wanted;
#ifdef MADV_HUGEPAGE
  if (huge_pages) madvise(base_, size_, MADV_HUGEPAGE);
#endif
}

Arena::~Arena() {
  ASAN_UNPOISON_MEMORY_REGION(base_, top_);
  if (base_ != nullptr) munmap(base_, size_);
}

std::pair<std::size_t, std::size_t> Arena::pages_within(std::size_t at, std::size_t bytes) const {
  const std::size_t first = round_up(at, page_), last = (at + bytes) / page_ * page_;
  return {first, std::max(first, last) - first};
}

void Arena::add(std::size_t at, const Free& piece) {
  if (piece.bytes == 0) return;
  free_.emplace(at, piece);
  by_size_[piece.given].emplace(piece.bytes, at);
  if (piece.given) given_ += pages_within(at, piece.bytes).second;
}

Arena::Free Arena::remove(Pieces::iterator piece) {
  const auto [at, p] = *piece;
  free_.erase(piece);
  by_size_[p.given].erase({p.bytes, at});
  if (p.given) given_ -= pages_within(at, p.bytes).second;
  return p;
}

// The smallest that is large enough, of those in memory if there is one.
Arena::Pieces::iterator Arena::find(std::size_t bytes) {
  for (const auto& pieces : by_size_)
    if (const auto found = pieces.lower_bound({bytes, 0}); found != pieces.end())
      return free_.find(found->second);
  return free_.end();
}

void* Arena::cut(Pieces::iterator found, std::size_t bytes) {
  const std::size_t at = found->first;
  Free piece = remove(found);
  piece.bytes -= bytes;
  add(at + bytes, piece);
  return base_ + at;
}

void* Arena::allocate(std::size_t bytes) {
  const auto found = find(bytes);
  return found != free_.end() ? cut(found, bytes) : nullptr;
}

void* Arena::allocate_at_top(std::size_t bytes) {
  std::size_t from = top_;  // or where what is free below it begins
  if (const auto last = free_.empty() ? free_.end() : std::prev(free_.end());
      last != free_.end() && last->first + last->second.bytes == top_)
    from = last->first;
  const std::size_t end = from + bytes;
  if (bytes > size_ || end > size_) return nullptr;
  if (end > writable_) {
    const std::size_t to = std::min(size_, round_up(end, kGrowth));
    if (mprotect(base_ + writable_, to - writable_, PROT_READ | PROT_WRITE) != 0) return nullptr;
    writable_ = to;
  }
  if (from < top_) remove(free_.find(from));
  ASAN_POISON_MEMORY_REGION(base_ + top_, end - top_);
  top_ = end;
  return base_ + from;
}

void Arena::release(void* block, std::size_t bytes, AllocatorClock::time_point now) {
  std::size_t at = static_cast<std::size_t>(static_cast<std::byte*>(block) - base_);
  auto after = free_.lower_bound(at);
  if (after != free_.begin())
    if (const auto before = std::prev(after); before->first + before->second.bytes == at) {
      at = before->first;
      bytes += remove(before).bytes;
    }
  if (after != free_.end() && after->first == at + bytes) bytes += remove(after).bytes;
  add(at, {bytes, now, false});
}

void Arena::give_back(Pieces::iterator at) {
  const std::size_t place = at->first;
  const bool last = place + at->second.bytes == top_;
  const auto [first, bytes] =
      pages_within(place, last ? round_up(top_, page_) - place : at->second.bytes);
  if ((at->second.given && !last) || bytes == 0) return;
  if (madvise(base_ + first, bytes, MADV_DONTNEED) != 0) return;
  Free piece = remove(at);
  piece.given = true;
  if (last)
    top_ = place;
  else
    add(place, piece);
}

void Arena::give_back(AllocatorClock::time_point released_until, std::size_t most) {
  std::vector<std::pair<AllocatorClock::time_point, std::size_t>> oldest;
  for (const auto& [at, piece] : free_)
    if (piece.released <= released_until) oldest.emplace_back(piece.released, at);
  std::ranges::sort(oldest);
  for (const auto& [released, at] : oldest)
    if (reserved() > most) give_back(free_.find(at));
}

Arena& CachingAllocator::arena_for(std::size_t bytes) {
  return bytes < kSmall ? small_ : large_;
}

void* CachingAllocator::allocate(std::size_t bytes) {
  const std::size_t size = place_of(bytes);
  const std::scoped_lock lock(mutex_);
  void* block = nullptr;
  if (bytes < memory_of_machine() && stats_.live + size <= memory_of_machine()) {
    Arena& arena = arena_for(bytes);
    block = arena.allocate(size);
    if (block == nullptr) {
      const std::size_t used = std::max(most_, stats_.live + size), limit = used + used / 16;
      const std::size_t reserved = small_.reserved() + large_.reserved();
      if (reserved + size > limit)
        arena.give_back(AllocatorClock::time_point::max(),
                        arena.reserved() - std::min(arena.reserved(), reserved + size - limit));
      block = arena.allocate_at_top(size);
    }
  }
  if (block == nullptr)
    throw OutOfMemory(
        fmt::format("out of memory: {} MiB wanted, {} MiB in use; lower the batch or the image "
                    "size",
                    bytes >> 20, stats_.live >> 20));
  ASAN_UNPOISON_MEMORY_REGION(block, bytes);
  stats_.live += size;
  most_ = std::max(most_, stats_.live);
  stats_.peak = std::max(stats_.peak, stats_.live);
  return block;
}

void CachingAllocator::release(void* block, std::size_t bytes) {
  const std::size_t size = place_of(bytes);
  const auto now = AllocatorClock::now();
  const std::scoped_lock lock(mutex_);
  ASAN_POISON_MEMORY_REGION(block, size);
  arena_for(bytes).release(block, size, now);
  stats_.live -= size;
  if (now - looked_ < kIdle / 4) return;
  looked_ = now;
  for (Arena* arena : {&small_, &large_}) arena->give_back(now - kIdle, 0);
}

MemoryStats CachingAllocator::stats() const {
  const std::scoped_lock lock(mutex_);
  MemoryStats s = stats_;
  s.reserved = small_.reserved() + large_.reserved();
  return s;
}

void CachingAllocator::reset_peak() {
  const std::scoped_lock lock(mutex_);
  stats_.peak = stats_.live;
}

void CachingAllocator::empty_cache() {
  const std::scoped_lock lock(mutex_);
  for (Arena* arena : {&small_, &large_}) arena->give_back(AllocatorClock::time_point::max(), 0);
}

}  // namespace nextgrad::cpu

// Statistics of channels that a kernel found of the numbers it wrote, while it had them in
// registers, for the batch_norm() that reads these very numbers next: that need not read them once
// more. The partials are bit by bit what batch_norm()'s own first stage would find, so that nobody
// can tell from a result whether they were there.
//
// A tensor is known by its address and by its storage's version: whatever changes numbers in place
// raises the version, and an address can only be taken over after release(), which drops it here.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <utility>

#include "tensor/tensor.h"

namespace nextgrad::cuda {

class ProducedStatistics {
 public:
  // y, all of a new storage, has these partials (channel_statistics.h), as of one image.
  void leave(const Tensor& y, Tensor partials) {
    Entry entry{y.raw(), y.version(), y.numel(), y.dim(-1), y.dtype(), std::move(partials)};
    const std::scoped_lock lock(mutex_);
    newest_ = 1 - newest_;
    std::swap(entries_[newest_], entry);  // the lock ends before the old one
  }
  // The partials of x, which are then forgotten; undefined if there are none.
  Tensor take(const Tensor& x) {
    const Entry e = remove(x.raw());
    const bool same = e.version == x.version() && e.numel == x.numel() && e.channels == x.dim(-1) &&
                      e.dtype == x.dtype();
    return same ? e.partials : Tensor();
  }
  void drop(const void* address) { remove(address); }
  void clear() {
    std::array<Entry, 2> old;
    const std::scoped_lock lock(mutex_);
    std::swap(entries_, old);
  }

 private:
  struct Entry {
    const void* address = nullptr;
    std::uint64_t version = 0;
    std::int64_t numel = 0, channels = 0;
    DType dtype = DType::f32;
    Tensor partials;
  };
  // What was there is returned, as the end of its partials is a release(), which asks here again.
  Entry remove(const void* address) {
    const std::scoped_lock lock(mutex_);
    for (Entry& e : entries_) {
      if (e.address == address) return std::exchange(e, {});
    }
    return {};
  }

  std::mutex mutex_;
  std::array<Entry, 2> entries_;  // another sum may be made between a sum and its batch norm
  std::size_t newest_ = 0;
};

}  // namespace nextgrad::cuda

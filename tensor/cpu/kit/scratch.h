// Per-thread scratch memory that grows and stays: kernels' packing buffers.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

namespace nextgrad::cpu {

// A 64-byte aligned buffer of at least n elements, private to this thread and this Tag, valid until
// the next call with the same Tag and T.
template <class Tag, class T>
T* scratch(std::int64_t n) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<void, Free> block;
  thread_local std::int64_t capacity = 0;
  if (n > capacity) {
    const std::size_t bytes = (static_cast<std::size_t>(n) * sizeof(T) + 63) / 64 * 64;
    block.reset(std::aligned_alloc(64, bytes));
    if (block == nullptr) throw std::bad_alloc();
    capacity = n;
  }
  return static_cast<T*>(block.get());
}

}  // namespace nextgrad::cpu

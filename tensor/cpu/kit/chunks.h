// Rows of channels in pieces: [images, rows, C] is cut into chunks of a fixed number of elements,
// which are the tasks of the threads; sums run over kRowsInT rows in T, then in double, chunks in
// order.
#pragma once

#include <algorithm>
#include <cstdint>

#include "tensor/cpu/kit/parallel.h"
#include "tensor/extents.h"

namespace nextgrad::cpu {

// A task: its image, its first row over all images, that row's first element, and its rows.
struct Chunk {
  std::int64_t image, row, at, rows;
};

// `Extents` is ImageRows or made of it.
template <class Extents>
struct Chunked : Extents {
  static constexpr std::int64_t kRowsInT = 64;      // rows summed in T
  static constexpr std::int64_t kElements = 65536;  // of a chunk

  std::int64_t chunk_rows() const {
    return std::max(kRowsInT, kElements / std::max<std::int64_t>(1, this->c) / kRowsInT * kRowsInT);
  }
  std::int64_t chunks() const { return (this->rows + chunk_rows() - 1) / chunk_rows(); }
  std::int64_t tasks() const { return this->images * chunks(); }
  // Tasks that make a thread worth waking.
  std::int64_t grain() const {
    return kElements / 2 / std::max<std::int64_t>(1, this->rows * this->c);
  }
  Chunk chunk(std::int64_t task) const {
    const std::int64_t image = task / chunks(), first = task % chunks() * chunk_rows();
    const std::int64_t row = image * this->rows + first;
    return {image, row, row * this->c, std::min(chunk_rows(), this->rows - first)};
  }
};

// Calls fn(task, chunk) for all of them, in parallel.
template <class Extents, class Fn>
void for_chunks(const Chunked<Extents>& e, Fn&& fn) {
  parallel_each(e.tasks(), e.grain(), [&](std::int64_t t) { fn(t, e.chunk(t)); });
}

}  // namespace nextgrad::cpu

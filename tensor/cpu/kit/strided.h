// Walking K tensors of one shape and any strides together (tensor/strided.h): the innermost axis
// comes as rows, so that no element costs a division.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <type_traits>

#include "tensor/cpu/kit/parallel.h"
#include "tensor/strided.h"

namespace nextgrad::cpu {

// A position in the first `axes` axes of a Strided, and the offset of each tensor there.
template <int K>
class Odometer {
 public:
  Odometer(const Strided<K>& s, int axes, std::int64_t position) : s_(s), axes_(axes) {
    for (std::size_t a = axes_; a-- > 0;) {
      index_[a] = position % s.extent[a];
      position /= s.extent[a];
      for (std::size_t k = 0; k < K; ++k) offset[k] += index_[a] * s.stride[k][a];
    }
  }
  void next() {
    for (std::size_t a = axes_; a-- > 0;) {
      for (std::size_t k = 0; k < K; ++k) offset[k] += s_.stride[k][a];
      if (++index_[a] < s_.extent[a]) return;
      index_[a] = 0;
      for (std::size_t k = 0; k < K; ++k) offset[k] -= s_.extent[a] * s_.stride[k][a];
    }
  }
  std::array<std::int64_t, K> offset{};

 private:
  const Strided<K>& s_;
  std::size_t axes_;
  std::array<std::int64_t, Shape::kMaxAxes> index_{};
};

// What for_rows calls: offsets of the K tensors and the count. Not a template parameter, so that
// the walk is compiled once and not for every op and type.
template <int K>
using RowFunction = std::function<void(const std::array<std::int64_t, K>&, std::int64_t)>;

// Calls fn(offsets, count) on pieces of rows along the innermost axis, in parallel.
template <int K>
void for_rows(const Strided<K>& s, const std::type_identity_t<RowFunction<K>>& fn) {
  constexpr std::int64_t kPiece = 16384;
  const int last = s.axes - 1;
  std::int64_t rows = 1;
  for (int a = 0; a < last; ++a) rows *= s.extent[a];
  const std::int64_t n = s.extent[last];
  if (rows == 0 || n == 0) return;
  const std::int64_t pieces = (n + kPiece - 1) / kPiece;
  parallel_for(rows * pieces, 2 * kPiece / std::min(n, kPiece),
               [&](std::int64_t begin, std::int64_t end) {
                 std::int64_t piece = begin % pieces;
                 Odometer<K> row(s, s.axes - 1, begin / pieces);
                 for (std::int64_t t = begin; t < end; ++t) {
                   std::array<std::int64_t, K> offset = row.offset;
                   for (std::size_t k = 0; k < K; ++k)
                     offset[k] += piece * kPiece * s.stride[k][last];
                   fn(offset, std::min(kPiece, n - piece * kPiece));
                   if (++piece == pieces) {
                     piece = 0;
                     row.next();
                   }
                 }
               });
}

}  // namespace nextgrad::cpu

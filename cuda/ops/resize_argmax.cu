// The argmax of bilinearly resized logits, cell by cell: a cell is what lies between four
// neighbouring source positions. A warp owns a cell; its lanes are output pixels, which go through
// the classes together, so that each logit of the corners is one load for the whole warp. (The CPU
// first looks which classes can win at all; no GPU has told yet whether that would pay here.)
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/taps.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

constexpr int kWarps = 4;  // of a block

template <class T>
__global__ void argmax_cells(const T* x, std::int32_t* y, UpsampleShape s) {
  using C = Compute<T>;
  const std::int64_t index = std::int64_t{blockIdx.x} * kWarps + threadIdx.y;
  if (index >= s.n * s.h * s.w) return;
  const std::int64_t row = index / s.w, i = index - row * s.w, image = row / s.h;
  const std::int64_t source = row - image * s.h;
  const std::int64_t top = start_of(s.rows, source), left = start_of(s.columns, i);
  const int rows = static_cast<int>(start_of(s.rows, source + 1) - top);
  const int columns = static_cast<int>(start_of(s.columns, i + 1) - left);
  const T* a0 = x + index * s.k;
  const T* a1 = a0 + (i + 1 < s.w ? s.k : 0);
  const std::int64_t under = source + 1 < s.h ? s.w * s.k : 0;
  for (int p = static_cast<int>(threadIdx.x); p < rows * columns; p += 32) {
    const std::int64_t oy = top + p / columns, ox = left + p % columns;
    const C ty = tap_at<C>(s.rows, oy).t, tx = tap_at<C>(s.columns, ox).t;
    C best = -C(INFINITY);
    std::int32_t winner = 0;
    for (int c = 0; c < s.k; ++c) {
      const C at_left = (C(1) - ty) * widen(a0[c]) + ty * widen(a0[under + c]);
      const C at_right = (C(1) - ty) * widen(a1[c]) + ty * widen(a1[under + c]);
      const C value = (C(1) - tx) * at_left + tx * at_right;
      if (value > best) best = value, winner = c;
    }
    y[(image * s.oh + oy) * s.ow + ox] = winner;
  }
}

}  // namespace

Tensor CudaBackend::resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w) {
  const ResizeExtents e = resize_extents("resize_argmax", x.shape(), h, w);
  check(e.c > 0, "resize_argmax: no channels in {}", x.shape());
  const UpsampleShape s = upsample_shape(x, h, w);
  const std::int64_t cells = s.n * s.h * s.w;
  Tensor y = empty({e.n, h, w}, DType::i32);
  Scope scope(*this, costs::resize_argmax(x, h, w));
  if (cells == 0) return y;
  dispatch_activation(x.dtype(), "resize_argmax", [&]<class T>() {
    launch("resize_argmax", argmax_cells<T>, {dim3(parts_of(cells, kWarps)), dim3(32, kWarps)},
           stream_, x, y, s);
  });
  return y;
}

}  // namespace nextgrad::cuda

// Gather along an axis and its transpose. The index is walked row-major with an odometer; the
// forward is split over threads, the backward adds in order on one thread, so that elements chosen
// twice sum the same way always.
#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/strided.h"
#include "tensor/extents.h"

namespace nextgrad::cpu {
namespace {

// Calls fn(i, offset in x) for elements [begin, end) of the index.
template <class Fn>
void walk(const Shape& x_shape, int axis, const Tensor& index, std::int64_t begin, std::int64_t end,
          Fn&& fn) {
  if (begin == end) return;
  const std::int64_t* indices = index.data<std::int64_t>();
  Shape strides = contiguous_strides(x_shape);
  const std::int64_t extent = x_shape[axis], stride = std::exchange(strides[axis], 0);
  const Strided<1> s = collapse<1>(index.shape(), {strides});
  Odometer<1> at(s, s.axes, begin);
  for (std::int64_t i = begin; i < end; ++i, at.next()) {
    const std::int64_t k = indices[i];
    check(k >= 0 && k < extent, "gather: index {} is outside [0, {}), axis {} of {}", k, extent,
          axis, x_shape);
    fn(i, at.offset[0] + k * stride);
  }
}

}  // namespace

Tensor CpuPrimitives::gather(const Tensor& x, int axis, const Tensor& index) {
  OpScope scope(costs::gather(x, index));
  const int at = gather_axis(x.shape(), axis, index.shape());
  Tensor y = Tensor::empty(index.shape(), x.dtype(), x.device());
  dispatch_all(x.dtype(), [&]<class T>(T) {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    parallel_for(index.numel(), 32768, [&](std::int64_t begin, std::int64_t end) {
      walk(x.shape(), at, index, begin, end,
           [&](std::int64_t i, std::int64_t offset) { to[i] = from[offset]; });
    });
  });
  return y;
}

Tensor CpuPrimitives::gather_backward(const Shape& x_shape, int axis, const Tensor& index,
                                      const Tensor& dy) {
  OpScope scope(costs::gather_backward(dy, index));
  const int at = gather_axis(x_shape, axis, index.shape());
  Tensor dx = Tensor::zeros(x_shape, dy.dtype(), dy.device());
  dispatch_float(dy.dtype(), "gather_backward", [&]<class T>(T) {
    const T* from = dy.data<T>();
    T* to = dx.data<T>();
    walk(x_shape, at, index, 0, index.numel(),
         [&](std::int64_t i, std::int64_t offset) { to[offset] += from[i]; });
  });
  return dx;
}

}  // namespace nextgrad::cpu

// Gather along an axis and its transpose. Forward: a thread an element, which finds its place in x
// by dividing by the index's extents. Backward: a thread adds one line of the axis in order, so
// that elements chosen twice sum the same way always; no two lines meet.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"

namespace nextgrad::cuda {
namespace {

// The index's axes but the gathered one, from the last, and their strides in x and in the index.
struct Lines {
  int axes = 0;
  std::int64_t extent[Shape::kMaxAxes], in_x[Shape::kMaxAxes], in_index[Shape::kMaxAxes];
  std::int64_t count = 1;                       // lines
  std::int64_t length, index_stride, x_stride;  // of the index along the axis; steps along it
  std::int64_t limit;                           // x's extent along it

  // Where line i begins.
  __device__ __forceinline__ void begin(std::int64_t i, std::int64_t& at_x,
                                        std::int64_t& at_index) const {
    at_x = at_index = 0;
    for (int a = 0; a < axes; ++a) {
      const std::int64_t rest = i / extent[a], k = i - rest * extent[a];
      at_x += k * in_x[a];
      at_index += k * in_index[a];
      i = rest;
    }
  }
};

template <class T>
__global__ void gather_each(const T* x, const std::int64_t* index, Lines lines, Fault* fault,
                            T* y) {
  const std::int64_t n = lines.count * lines.length;
  for (std::int64_t i = global_index(); i < n; i += global_threads()) {
    // Neighbours in a warp are neighbours in memory: along the axis if it is the last, else in
    // other lines.
    const std::int64_t k = lines.index_stride == 1 ? i % lines.length : i / lines.count;
    std::int64_t at_x, at;
    lines.begin(lines.index_stride == 1 ? i / lines.length : i - k * lines.count, at_x, at);
    at += k * lines.index_stride;
    const std::int64_t chosen = index[at];
    if (chosen < 0 || chosen >= lines.limit) {
      report(fault, Fault::gather_index, chosen, lines.limit);
      y[at] = T{};
      continue;
    }
    y[at] = x[at_x + chosen * lines.x_stride];
  }
}

// dx is zero at first.
template <class T>
__global__ void scatter_lines(const T* dy, const std::int64_t* index, Lines lines, Fault* fault,
                              Compute<T>* dx) {
  for (std::int64_t i = global_index(); i < lines.count; i += global_threads()) {
    std::int64_t at_x, at;
    lines.begin(i, at_x, at);
    for (std::int64_t k = 0; k < lines.length; ++k, at += lines.index_stride) {
      const std::int64_t chosen = index[at];
      if (chosen < 0 || chosen >= lines.limit) {
        report(fault, Fault::gather_index, chosen, lines.limit);
        continue;
      }
      dx[at_x + chosen * lines.x_stride] += widen(dy[at]);
    }
  }
}

Lines lines_of(const Shape& x, int axis, const Shape& index) {
  bool ok = x.size() == index.size();
  for (int a = 0; ok && a < x.size(); ++a) ok = a == axis || index[a] <= x[a];
  check(ok, "gather: index {} does not fit into {} along axis {}", index.str(), x.str(), axis);
  const Shape in_x = contiguous_strides(x), in_index = contiguous_strides(index);
  Lines lines{};
  lines.count = 1;
  for (int a = x.size(); a-- > 0;) {
    if (a == axis || index[a] == 1) continue;
    lines.extent[lines.axes] = index[a];
    lines.in_x[lines.axes] = in_x[a];
    lines.in_index[lines.axes++] = in_index[a];
    lines.count *= index[a];
  }
  lines.length = index[axis];
  lines.index_stride = in_index[axis];
  lines.x_stride = in_x[axis];
  lines.limit = x[axis];
  return lines;
}

}  // namespace

Tensor CudaBackend::gather(const Tensor& x, int axis, const Tensor& index) {
  Scope scope(*this, "gather", 0, static_cast<double>(x.nbytes() + index.nbytes()));
  const Lines lines = lines_of(x.shape(), x.shape().axis(axis), index.shape());
  Tensor y = empty(index.shape(), x.dtype());
  if (y.numel() == 0) return y;
  dispatch_all(x.dtype(), [&](auto zero) {
    using T = decltype(zero);
    launch("gather", gather_each<T>, grid_for(y.numel()), stream_, x.data<T>(),
           index.data<std::int64_t>(), lines, fault_, y.data<T>());
  });
  return y;
}

Tensor CudaBackend::gather_backward(const Shape& x_shape, int axis, const Tensor& index,
                                    const Tensor& dy) {
  Scope scope(*this, "gather_backward", static_cast<double>(dy.numel()),
              static_cast<double>(dy.nbytes() + index.nbytes()));
  const Lines lines = lines_of(x_shape, x_shape.axis(axis), index.shape());
  Tensor dx = empty(x_shape, parameter_dtype(dy.dtype()));  // bf16 is summed in f32
  if (dx.numel() > 0)
    cuda_check(cudaMemsetAsync(dx.raw(), 0, dx.nbytes(), stream_), "clearing a gradient");
  if (index.numel() > 0) {
    dispatch_activation(dy.dtype(), "gather_backward", [&](auto zero) {
      using T = decltype(zero);
      launch("gather_backward", scatter_lines<T>, grid_for(lines.count), stream_, dy.data<T>(),
             index.data<std::int64_t>(), lines, fault_, dx.data<Compute<T>>());
    });
  }
  return dx.dtype() == dy.dtype() ? dx : dx.to(dy.dtype());
}

}  // namespace nextgrad::cuda

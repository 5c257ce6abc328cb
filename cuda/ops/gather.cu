// Gather along an axis and its transpose. Forward: a thread an element. Backward: a thread adds one
// line of the axis in order, so that elements chosen twice sum the same way always; no two lines
// meet.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/strided.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

// The gathered axis.
struct Along {
  std::int64_t length, step;  // of the index
  std::int64_t limit, x_step;

  // Where in x index `chosen` leads to, from the line's beginning; -1 if it is out of range.
  __device__ __forceinline__ std::int64_t find(std::int64_t chosen, Fault* fault) const {
    if (chosen >= 0 && chosen < limit) return chosen * x_step;
    report(fault, Fault::gather_index, chosen, limit);
    return -1;
  }
};

// `places`: of the index's elements, the lines in x to which they belong.
template <class T>
__global__ void gather_each(const T* x, const std::int64_t* index, Walk<1> places, Along along,
                            Fault* fault, T* y) {
  for (std::int64_t i = global_index(); i < places.count; i += global_threads()) {
    const std::int64_t at = along.find(index[i], fault);
    y[i] = at < 0 ? T{} : x[places.offsets(i).of[0] + at];
  }
}

// `lines`: where each begins, in x and in the index. dx is zero at first.
template <class T>
__global__ void scatter_lines(const T* dy, const std::int64_t* index, Walk<2> lines, Along along,
                              Fault* fault, Compute<T>* dx) {
  for (std::int64_t i = global_index(); i < lines.count; i += global_threads()) {
    const auto first = lines.offsets(i);
    for (std::int64_t k = 0; k < along.length; ++k) {
      const std::int64_t from = first.of[1] + k * along.step, at = along.find(index[from], fault);
      if (at >= 0) dx[first.of[0] + at] += widen(dy[from]);
    }
  }
}

Along along(const Shape& x, int axis, const Shape& index) {
  return {index[axis], contiguous_strides(index)[axis], x[axis], contiguous_strides(x)[axis]};
}

}  // namespace

Tensor CudaBackend::gather(const Tensor& x, int axis, const Tensor& index) {
  Scope scope(*this, costs::gather(x, index));
  axis = gather_axis(x.shape(), axis, index.shape());
  Tensor y = empty(index.shape(), x.dtype());
  if (y.numel() == 0) return y;
  Shape strides = contiguous_strides(x.shape());
  strides[axis] = 0;
  const Walk<1> places(collapse<1>(index.shape(), {strides}));
  dispatch_all(x.dtype(), [&](auto zero) {
    launch("gather", gather_each<decltype(zero)>, grid_for(y.numel()), stream_, x, index, places,
           along(x.shape(), axis, index.shape()), fault_, y);
  });
  return y;
}

Tensor CudaBackend::gather_backward(const Shape& x_shape, int axis, const Tensor& index,
                                    const Tensor& dy) {
  Scope scope(*this, costs::gather_backward(dy, index));
  axis = gather_axis(x_shape, axis, index.shape());
  Tensor dx = empty(x_shape, parameter_dtype(dy.dtype()));  // bf16 is summed in f32
  if (dx.numel() > 0) dx.fill_(0);
  if (index.numel() > 0) {
    Shape firsts = index.shape();
    firsts[axis] = 1;
    const Walk<2> lines(
        collapse<2>(firsts, {contiguous_strides(x_shape), contiguous_strides(index.shape())}));
    dispatch_activation(dy.dtype(), "gather_backward", [&]<class T>() {
      launch("gather_backward", scatter_lines<T>, grid_for(lines.count), stream_, dy, index, lines,
             along(x_shape, axis, index.shape()), fault_, dx);
    });
  }
  return dx.to(dy.dtype());
}

}  // namespace nextgrad::cuda

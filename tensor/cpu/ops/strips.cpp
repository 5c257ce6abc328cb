// The backend's multi-scale strips; kernels and their blocking are in strips_forward.cpp and
// strips_backward.cpp.
#include "tensor/cpu/ops/strips.h"

#include "tensor/cpu/cpu_backend.h"
#include "tensor/extents.h"
#include "tensor/profile.h"

namespace nextgrad::cpu {

namespace {

StripsShape shape_of(const Tensor& x) {
  return {x.dim(0), x.dim(1), x.dim(2), x.dim(3)};
}

template <class T>
std::vector<StripOf<T>> pointers(const std::vector<Strip>& strips) {
  std::vector<StripOf<T>> p;
  for (const Strip& s : strips)
    p.push_back({static_cast<int>(s.row.dim(1)), data_or_null<T>(s.row),
                 data_or_null<T>(s.row_bias), data_or_null<T>(s.column),
                 data_or_null<T>(s.column_bias)});
  return p;
}

}  // namespace

Tensor CpuBackend::strips(const Tensor& x, const std::vector<Strip>& strips) {
  OpScope scope("strips", strips_flops(x, strips), 2.0 * static_cast<double>(x.nbytes()));
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), "strips", [&](auto tag) {
    using T = decltype(tag);
    strips_forward<T>(shape_of(x), pointers<const T>(strips), x.data<T>(), y.data<T>());
  });
  return y;
}

StripsGradients CpuBackend::strips_backward(const Tensor& x, const std::vector<Strip>& strips,
                                            const Tensor& dy) {
  // Two transposed strips, two weight gradients, and the row results once more.
  OpScope scope("strips backward", 2.5 * strips_flops(x, strips),
                3.0 * static_cast<double>(x.nbytes()));
  StripsGradients g = empty_strips_gradients(x, strips);
  dispatch_float(x.dtype(), "strips", [&](auto tag) {
    using T = decltype(tag);
    cpu::strips_backward<T>(shape_of(x), pointers<const T>(strips), x.data<T>(), dy.data<T>(),
                            g.dx.data<T>(), pointers<T>(g.dstrips));
  });
  return g;
}

}  // namespace nextgrad::cpu

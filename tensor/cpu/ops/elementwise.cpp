// Elementwise ops. Contiguous data is one long row split over threads; other strides go row by row
// (strided.h), and a copy that transposes goes through 16 x 16 tiles so that each cache line is
// read and written once.
#include <cstring>
#include <type_traits>
#include <utility>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/math.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/strided.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kGrain = 32768;  // elements worth a thread

template <class To, class From>
To cast(From v) {
  if constexpr (std::is_same_v<From, To>) {
    return v;
  } else if constexpr (std::is_same_v<From, bfloat16>) {
    return cast<To>(static_cast<float>(v));
  } else if constexpr (std::is_same_v<To, bfloat16>) {
    return bfloat16(static_cast<float>(v));
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    return saturated<To>(v);
  } else {
    return static_cast<To>(v);
  }
}

template <class To, class From>
void copy_row(const From* x, std::int64_t sx, To* y, std::int64_t sy, std::int64_t n) {
  if (sx == 1 && sy == 1) {
    if constexpr (std::is_same_v<From, To>) {
      std::memcpy(y, x, static_cast<std::size_t>(n) * sizeof(To));
    } else {
#pragma omp simd
      for (std::int64_t i = 0; i < n; ++i) y[i] = cast<To>(x[i]);
    }
  } else if (sx == 0) {
    const To value = cast<To>(*x);
    for (std::int64_t i = 0; i < n; ++i) y[i * sy] = value;
  } else {
    for (std::int64_t i = 0; i < n; ++i) y[i * sy] = cast<To>(x[i * sx]);
  }
}

// y[i][j] = x[i][j], i along x's unit stride (second last axis of s), j along y's innermost.
template <class T>
void copy_transposing(const Strided<2>& s, const T* x, T* y) {
  constexpr std::int64_t kTile = 16;
  const int axis_i = s.axes - 2, axis_j = axis_i + 1;
  const std::int64_t ni = s.extent[axis_i], nj = s.extent[axis_j];
  const std::int64_t xi = s.stride[0][axis_i], xj = s.stride[0][axis_j];
  const std::int64_t yi = s.stride[1][axis_i], yj = s.stride[1][axis_j];
  const std::int64_t tiles = (ni + kTile - 1) / kTile;
  std::int64_t outer = 1;
  for (int a = 0; a < axis_i; ++a) outer *= s.extent[a];
  const auto move = [&](const T* from, T* to, std::int64_t mi, std::int64_t mj) {
    T tile[kTile][kTile];
    for (std::int64_t j = 0; j < mj; ++j) {
      for (std::int64_t i = 0; i < mi; ++i) tile[i][j] = from[i * xi + j * xj];
    }
    for (std::int64_t i = 0; i < mi; ++i) {
      for (std::int64_t j = 0; j < mj; ++j) to[i * yi + j * yj] = tile[i][j];
    }
  };
  const std::int64_t grain = kGrain / (kTile * nj);
  parallel_each(outer * tiles, grain, [&](std::int64_t t) {
    const Odometer<2> at(s, s.axes - 2, t / tiles);
    const std::int64_t i = t % tiles * kTile;
    for (std::int64_t j = 0; j < nj; j += kTile) {
      move(x + at.offset[0] + i * xi + j * xj, y + at.offset[1] + i * yi + j * yj,
           std::min(kTile, ni - i), std::min(kTile, nj - j));
    }
  });
}

// Axes ordered so that the destination's strides fall; if the source has unit stride along another
// axis than the innermost, that axis comes second last and true is returned.
bool order_for_copy(Strided<2>& s) {
  const int n = s.axes;
  const auto exchange = [&](int a, int b) {
    std::swap(s.extent[a], s.extent[b]);
    for (auto& stride : s.stride) std::swap(stride[a], stride[b]);
  };
  for (int a = 1; a < n; ++a) {
    for (int b = a; b > 0 && s.stride[1][b] > s.stride[1][b - 1]; --b) exchange(b, b - 1);
  }
  if (n < 2 || s.stride[0][n - 1] <= 1) return false;
  for (int a = 0; a + 1 < n; ++a) {
    if (s.stride[0][a] != 1) continue;
    exchange(a, n - 2);
    return true;
  }
  return false;
}

template <class To, class From>
void copy_any(const Tensor& source, Tensor& out) {
  Strided<2> s = collapse<2>(out.shape(), {source.strides(), out.strides()});
  const From* x = source.data<From>();
  To* y = out.data<To>();
  const bool transposes = order_for_copy(s);
  if constexpr (std::is_same_v<To, From>) {  // not for all 36 pairs of types
    if (transposes) return copy_transposing(s, x, y);
  }
  const int last = s.axes - 1;
  for_rows(s, [&](const auto& at, std::int64_t n) {
    copy_row(x + at[0], s.stride[0][last], y + at[1], s.stride[1][last], n);
  });
}

// The loops stand in functions of their own: on pointers captured by a closure GCC gathers element
// by element instead of loading vectors.
template <class T, class F, class... X>
void map_run(T* y, std::int64_t n, F f, const X*... x) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = f(x[i]...);
}

// y[i] = f(x[i]...); y may be one of the x.
template <class T, class F, class... X>
void map(T* y, std::int64_t n, F f, const X*... x) {
  parallel_for(n, kGrain, [=](std::int64_t begin, std::int64_t end) {
    map_run(y + begin, end - begin, f, (x + begin)...);
  });
}

// o[i] = f(a[i], b[i]) along one row; o has unit stride.
template <class T, class F>
void binary_row(const T* a, std::int64_t sa, const T* b, std::int64_t sb, T* o, std::int64_t n,
                F f) {
  if (sa == 1 && sb == 1) return map_run(o, n, f, a, b);
  if (sa == 1 && sb == 0)
    return map_run(
        o, n, [f, v = *b](T u) { return f(u, v); }, a);
  if (sa == 0 && sb == 1)
    return map_run(
        o, n, [f, u = *a](T v) { return f(u, v); }, b);
  for (std::int64_t i = 0; i < n; ++i) o[i] = f(a[i * sa], b[i * sb]);
}

template <class T, class F>
void binary_any(const Tensor& a, const Tensor& b, Tensor& out, F f) {
  const Strided<3> s = collapse<3>(out.shape(), {a.strides(), b.strides(), out.strides()});
  const int last = s.axes - 1;
  const T *pa = a.data<T>(), *pb = b.data<T>();
  T* po = out.data<T>();
  for_rows(s, [&](const auto& at, std::int64_t n) {
    binary_row(pa + at[0], s.stride[0][last], pb + at[1], s.stride[1][last], po + at[2], n, f);
  });
}

}  // namespace

void CpuPrimitives::fill(Tensor& out, double value) {
  OpScope scope(costs::fill(out));
  dispatch_all(out.dtype(), [&]<class T>(T) {
    const T v = cast<T>(value);
    const Strided<1> s = collapse<1>(out.shape(), {out.strides()});
    const std::int64_t stride = s.stride[0][s.axes - 1];
    T* p = out.data<T>();
    for_rows(s, [&](const auto& at, std::int64_t n) { copy_row(&v, 0, p + at[0], stride, n); });
  });
  out.bump_version();
}

void CpuPrimitives::copy(const Tensor& source, Tensor& out) {
  OpScope scope(costs::copy(source, out));
  const Tensor from = source.shape() == out.shape() ? source : source.expand(out.shape());
  dispatch_all(from.dtype(), [&](auto x) {
    dispatch_all(out.dtype(), [&](auto y) { copy_any<decltype(y), decltype(x)>(from, out); });
  });
  out.bump_version();
}

void CpuPrimitives::axpy(Tensor& y, const Tensor& x, double alpha) {
  OpScope scope(costs::axpy(y));
  dispatch_float(y.dtype(), "axpy", [&]<class T>(T) {
    const T a = static_cast<T>(alpha);
    map(
        y.data<T>(), y.numel(), [=](T u, T v) { return u + a * v; }, y.data<T>(), x.data<T>());
  });
  y.bump_version();
}

Tensor CpuPrimitives::unary(Unary op, const Tensor& x, double alpha) {
  const char* name = facts_of(op).name;
  OpScope scope(costs::unary(op, x));
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  dispatch_float(x.dtype(), name, [&]<class T>(T) {
    with_unary(op, [&](auto which) {
      using Op = UnaryOp<which(), Math, T>;
      const auto f = [a = static_cast<T>(alpha)](T v) { return Op::value(v, a); };
      map(y.data<T>(), x.numel(), f, x.data<T>());
    });
  });
  return y;
}

Tensor CpuPrimitives::unary_backward(Unary op, const Tensor& read, const Tensor& dy, double alpha) {
  const UnaryFacts facts = facts_of(op);
  OpScope scope(costs::unary_backward(op, dy));
  Tensor dx = Tensor::empty(dy.shape(), dy.dtype(), dy.device());
  const Tensor& v = facts.gradient_reads == Reads::nothing ? dy : read;
  check(v.numel() == dy.numel(), "{}: what it reads is missing", facts.backward_name);
  dispatch_float(dy.dtype(), facts.backward_name, [&]<class T>(T) {
    with_unary(op, [&](auto which) {
      using Op = UnaryOp<which(), Math, T>;
      const auto f = [a = static_cast<T>(alpha)](T u, T d) { return Op::gradient(u, d, a); };
      map(dx.data<T>(), dy.numel(), f, v.data<T>(), dy.data<T>());
    });
  });
  return dx;
}

Tensor CpuPrimitives::binary(Binary op, const Tensor& a, const Tensor& b) {
  const char* name = name_of(op);
  const bool equal = a.shape() == b.shape();
  const Shape shape = equal ? a.shape() : broadcast(a.shape(), b.shape(), name);
  Tensor out = Tensor::empty(shape, a.dtype(), a.device());
  OpScope scope(costs::binary(op, a, b, out));
  const bool plain = equal && a.is_contiguous() && b.is_contiguous();
  dispatch_float(a.dtype(), name, [&]<class T>(T) {
    with_binary(op, [&](auto which) {
      using Op = BinaryOp<which(), T>;
      const auto f = [](T u, T v) { return Op::value(u, v); };
      if (plain) return map(out.data<T>(), out.numel(), f, a.data<T>(), b.data<T>());
      binary_any<T>(a.expand(shape), b.expand(shape), out, f);
    });
  });
  return out;
}

}  // namespace nextgrad::cpu

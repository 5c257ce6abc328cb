// Elementwise ops. Contiguous data goes 16 bytes a thread and step; other strides go one element a
// thread, its place found by dividing its number through the extents (cuda/kit/strided.h).
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/strided.h"
#include "tensor/costs.h"
#include "tensor/elementwise.h"

namespace nextgrad::cuda {
namespace {

template <class To, class From>
__device__ __forceinline__ To cast(From v) {
  if constexpr (std::is_same_v<From, To>) {
    return v;
  } else if constexpr (std::is_same_v<From, bfloat16>) {
    return cast<To>(widen(v));
  } else if constexpr (std::is_same_v<To, bfloat16>) {
    return narrow<bfloat16>(static_cast<float>(v));
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    return saturated<To>(v);
  } else {
    return static_cast<To>(v);
  }
}

template <class T>
__global__ void fill_kernel(T* out, double value, Walk<1> walk) {
  for (std::int64_t i = global_index(); i < walk.count; i += global_threads())
    out[walk.offsets(i).of[0]] = cast<T>(value);
}

template <class To, class From>
__global__ void cast_kernel(const From* from, To* to, Walk<2> walk) {
  for (std::int64_t i = global_index(); i < walk.count; i += global_threads()) {
    const auto at = walk.offsets(i);
    to[at.of[1]] = cast<To>(from[at.of[0]]);
  }
}

// z = f(x, y): packs of N, and the last n % N elements one by one; y is read if there are `two`
// inputs, else f gets x and 0. The output may be an input.
template <bool two, int N, class T, class F>
__global__ void map_kernel(const T* x, const T* y, T* z, std::int64_t n, F f) {
  const std::int64_t packs = n / N;
  for (std::int64_t i = global_index(); i < packs; i += global_threads()) {
    Compute<T> u[N], v[N] = {};
    load<N>(x + i * N, u);
    if constexpr (two) load<N>(y + i * N, v);
    unroll<N>([&](int k) { u[k] = f(u[k], v[k]); });
    store<N>(z + i * N, u);
  }
  const std::int64_t last = packs * N + global_index();
  if (last < n) z[last] = narrow<T>(f(widen(x[last]), two ? widen(y[last]) : Compute<T>(0)));
}

template <class T, class F>
__global__ void strided_kernel(const T* a, const T* b, T* out, Walk<3> walk, F f) {
  for (std::int64_t i = global_index(); i < walk.count; i += global_threads()) {
    const auto at = walk.offsets(i);
    out[at.of[2]] = narrow<T>(f(widen(a[at.of[0]]), widen(b[at.of[1]])));
  }
}

// The ops of tensor/elementwise.h as functors; a device's lambdas would want a compiler's option.
struct Math {
  __device__ static auto exp(auto x) { return std::exp(x); }
  __device__ static auto expm1(auto x) { return std::expm1(x); }
  __device__ static auto log(auto x) { return std::log(x); }
  __device__ static auto log1p(auto x) { return std::log1p(x); }
  __device__ static auto sqrt(auto x) { return std::sqrt(x); }
  __device__ static auto tanh(auto x) { return std::tanh(x); }
  __device__ static auto gelu(auto x) { return cuda::gelu(x); }
  __device__ static auto gelu_slope(auto x) { return cuda::gelu_slope(x); }
};
template <Unary op, class T>
struct Value {
  T alpha;
  __device__ T operator()(T x, T) const { return UnaryOp<op, Math, T>::value(x, alpha); }
};
template <Unary op, class T>
struct Gradient {
  T alpha;
  __device__ T operator()(T v, T d) const { return UnaryOp<op, Math, T>::gradient(v, d, alpha); }
};
template <Binary op, class T>
struct BinaryValue {
  __device__ T operator()(T a, T b) const { return BinaryOp<op, T>::value(a, b); }
};
template <class T>
struct Axpy {
  T alpha;
  __device__ T operator()(T y, T x) const { return y + alpha * x; }
};
template <class T>
struct Lerp {
  T t;
  __device__ T operator()(T y, T x) const { return y + t * (x - y); }
};

// z = f(x, y), of `two` inputs or of x alone, all contiguous; make(alpha) gives f.
template <bool two, class Make>
void map(const char* name, cudaStream_t stream, const Tensor& x, const Tensor& y, const Tensor& z,
         double alpha, Make&& make) {
  const std::int64_t n = z.numel();
  dispatch_activation(z.dtype(), name, [&]<class T>() {
    if (n == 0) return;
    constexpr int N = kPack<T>;
    const auto f = make(static_cast<Compute<T>>(alpha));
    using F = std::remove_const_t<decltype(f)>;
    const bool packs = aligned({x, y, z});
    launch(name, packs ? map_kernel<two, N, T, F> : map_kernel<two, 1, T, F>,
           grid_for(packs ? parts_of(n, N) : n), stream, x, y, z, n, f);
  });
}

// f(x) to y and d f'(x) to d, of what an op wants both of.
template <Unary op, int N, class T>
__global__ void value_and_slope(const T* x, T* y, T* d, std::int64_t n) {
  using C = Compute<T>;
  const std::int64_t packs = n / N;
  for (std::int64_t i = global_index(); i < packs; i += global_threads()) {
    C v[N], g[N];
    load<N>(x + i * N, v);
    load<N>(d + i * N, g);
    // max(x, 0) is as good as x for relu's slope.
    unroll<N>([&](int k) { g[k] = UnaryOp<op, Math, C>::gradient(v[k], g[k], C(0)); });
    store<N>(d + i * N, g);
    unroll<N>([&](int k) { v[k] = UnaryOp<op, Math, C>::value(v[k], C(0)); });
    store<N>(y + i * N, v);
  }
}

// Copies of one dtype move units of 16 bytes, or as many as extents, strides and addresses allow.
template <int Bytes = 16>
void copy_units(cudaStream_t stream, const Tensor& source, Tensor& out, const Strided<2>& s) {
  using Unit = Pack<std::uint8_t, Bytes>;
  const auto size = static_cast<std::int64_t>(size_of(out.dtype())), per = Bytes / size;
  const auto last = static_cast<std::size_t>(s.axes - 1);
  bool fits = per == 1 || (per > 1 && s.extent[last] % per == 0 && s.stride[0][last] == 1 &&
                           s.stride[1][last] == 1 && aligned({source, out}, Bytes));
  Strided<2> units = s;
  if (per > 1) units.extent[last] /= per;
  for (auto& stride : units.stride)
    for (std::size_t a = 0; a < last && per > 1; ++a) {
      fits = fits && stride[a] % per == 0;
      stride[a] /= per;
    }
  if constexpr (Bytes > 1)
    if (!fits) return copy_units<Bytes / 2>(stream, source, out, s);
  const Walk<2> walk(units);
  launch("copy", cast_kernel<Unit, Unit>, grid_for(walk.count), stream,
         static_cast<const Unit*>(source.raw()), static_cast<Unit*>(out.raw()), walk);
}

void copy_same(cudaStream_t stream, const Tensor& source, Tensor& out, const Strided<2>& s) {
  if (s.axes != 1 || s.stride[0][0] != 1 || s.stride[1][0] != 1)
    return copy_units(stream, source, out, s);
  note_launch();
  cuda_check(
      cudaMemcpyAsync(out.raw(), source.raw(), out.nbytes(), cudaMemcpyDeviceToDevice, stream),
      "copy");
}

}  // namespace

void CudaBackend::fill(Tensor& out, double value) {
  Scope scope(*this, costs::fill(out));
  out.bump_version();
  if (out.numel() == 0) return;
  if (value == 0 && !std::signbit(value) && out.is_contiguous()) {
    note_launch();
    cuda_check(cudaMemsetAsync(out.raw(), 0, out.nbytes(), stream_), "fill");
    return;
  }
  const Walk<1> walk(collapse<1>(out.shape(), {out.strides()}));
  dispatch_all(out.dtype(), [&](auto zero) {
    launch("fill", fill_kernel<decltype(zero)>, grid_for(walk.count), stream_, out, value, walk);
  });
}

void CudaBackend::copy(const Tensor& source, Tensor& out) {
  Scope scope(*this, costs::copy(source, out));
  out.bump_version();
  if (out.numel() == 0) return;
  const Tensor from = source.shape() == out.shape() ? source : source.expand(out.shape());
  const Strided<2> s = collapse<2>(out.shape(), {from.strides(), out.strides()});
  if (from.dtype() == out.dtype()) return copy_same(stream_, from, out, s);
  const Walk<2> walk(s);
  dispatch_all(from.dtype(), [&](auto x) {
    dispatch_all(out.dtype(), [&](auto y) {
      using From = decltype(x);
      using To = decltype(y);
      if constexpr (!std::is_same_v<From, To>)
        launch("cast", cast_kernel<To, From>, grid_for(walk.count), stream_, from, out, walk);
    });
  });
}

void CudaBackend::axpy(Tensor& y, const Tensor& x, double alpha) {
  Scope scope(*this, costs::axpy(y));
  map<true>("axpy", stream_, y, x, y, alpha, [](auto a) { return Axpy<decltype(a)>{a}; });
  y.bump_version();
}

void CudaBackend::lerp(Tensor& y, const Tensor& x, double t) {
  Scope scope(*this, costs::lerp(y));
  map<true>("lerp", stream_, y, x, y, t, [](auto a) { return Lerp<decltype(a)>{a}; });
  y.bump_version();
}

Tensor CudaBackend::unary(Unary op, const Tensor& x, double alpha) {
  Tensor y = empty_like(x);
  unary_into(op, x, alpha, y);
  return y;
}

void CudaBackend::unary_into(Unary op, const Tensor& x, double alpha, Tensor& y) {
  const char* name = facts_of(op).name;
  Scope scope(*this, costs::unary(op, x));
  with_unary(op, [&]<Unary which>(std::integral_constant<Unary, which>) {
    map<false>(name, stream_, x, {}, y, alpha, [](auto a) { return Value<which, decltype(a)>{a}; });
  });
}

Tensor CudaBackend::activation_and_slope(Activation f, const Tensor& x, Tensor& d) {
  Tensor y = empty_like(x);
  if (x.numel() == 0) return y;
  dispatch_packs("activation_and_slope", x.numel(), {x, y, d}, [&]<class T, int N>() {
    launch("activation_and_slope",
           f == Activation::gelu ? value_and_slope<Unary::gelu, N, T>
                                 : value_and_slope<Unary::relu, N, T>,
           grid_for(x.numel() / N), stream_, x, y, d, x.numel());
  });
  return y;
}

Tensor CudaBackend::unary_backward(Unary op, const Tensor& read, const Tensor& dy, double alpha) {
  const UnaryFacts facts = facts_of(op);
  const char* name = facts.backward_name;
  Scope scope(*this, costs::unary_backward(op, dy));
  Tensor dx = empty_like(dy);
  const Tensor& v = facts.gradient_reads == Reads::nothing ? dy : read;
  check(v.numel() == dy.numel(), "{}: what it reads is missing", name);
  with_unary(op, [&]<Unary which>(std::integral_constant<Unary, which>) {
    map<true>(name, stream_, v, dy, dx, alpha,
              [](auto a) { return Gradient<which, decltype(a)>{a}; });
  });
  return dx;
}

Tensor CudaBackend::binary(Binary op, const Tensor& a, const Tensor& b) {
  const char* name = name_of(op);
  const bool equal = a.shape() == b.shape();
  const Shape shape = equal ? a.shape() : broadcast(a.shape(), b.shape(), name);
  Tensor out = empty(shape, a.dtype());
  Scope scope(*this, costs::binary(op, a, b, out));
  if (out.numel() == 0) return out;
  const bool plain = equal && a.is_contiguous() && b.is_contiguous();
  const Tensor wide_a = a.expand(shape), wide_b = b.expand(shape);
  const Walk<3> walk(collapse<3>(shape, {wide_a.strides(), wide_b.strides(), out.strides()}));
  with_binary(op, [&]<Binary which>(std::integral_constant<Binary, which>) {
    if (plain)
      return map<true>(name, stream_, a, b, out, 0,
                       [](auto zero) { return BinaryValue<which, decltype(zero)>{}; });
    dispatch_activation(a.dtype(), name, [&]<class T>() {
      using F = BinaryValue<which, Compute<T>>;
      launch(name, strided_kernel<T, F>, grid_for(walk.count), stream_, a, b, out, walk, F{});
    });
  });
  return out;
}

}  // namespace nextgrad::cuda

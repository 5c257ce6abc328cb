// Depth-wise convolution. Square windows of stride 1 march down the image (depthwise_march.h); for
// all others a thread has a pack of channels of one output and reads every tap where it lies.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/index.h"
#include "cuda/kit/sums.h"
#include "cuda/ops/depthwise_march.h"
#include "tensor/costs.h"

namespace nextgrad::cuda {
namespace {

// --- any window ---

// Where tap k of result y lies along an axis of so many numbers; -1: outside. Transposed: which
// number has y at its tap k.
template <bool Transposed>
__device__ __forceinline__ int source_of(int y, int k, int stride, int pad, int dilation,
                                         std::int64_t extent) {
  int at = Transposed ? y + pad - k * dilation : y * stride - pad + k * dilation;
  if (Transposed) {
    if (at < 0 || at % stride != 0) return -1;
    at /= stride;
  }
  return at >= 0 && at < extent ? at : -1;
}

// From x [n, h, w, c] to y [n, oh, ow, c]. Transposed: from the gradient of such a y to that of x.
template <class T, int N, bool Transposed>
__global__ void window_sums(DepthwiseShape s, RowWork work, const T* __restrict__ x,
                            const Compute<T>* __restrict__ weight,
                            const Compute<T>* __restrict__ bias, const T* __restrict__ base,
                            T* __restrict__ y) {
  using C = Compute<T>;
  const Window& k = s.window;
  for_each_pack(work, [&](std::int64_t row, int column, int pack) {
    const std::int64_t image = row / s.oh, channel = std::int64_t{pack} * N;
    const int oy = static_cast<int>(row - image * s.oh);
    C sum[N] = {}, below[N] = {};
    if (bias != nullptr) load<N>(bias + channel, sum);
    for (int ky = 0; ky < k.kh; ++ky) {
      const auto iy = source_of<Transposed>(oy, ky, k.stride_h, k.pad_h, k.dilation_h, s.h);
      if (iy < 0) continue;
#pragma unroll 4
      for (int kx = 0; kx < k.kw; ++kx) {
        const auto ix = source_of<Transposed>(column, kx, k.stride_w, k.pad_w, k.dilation_w, s.w);
        if (ix < 0) continue;
        C in[N], w[N];
        load<N>(x + ((image * s.h + iy) * s.w + ix) * s.c + channel, in);
        load<N>(weight + (ky * k.kw + kx) * s.c + channel, w);
        unroll<N>([&](int j) { sum[j] += in[j] * w[j]; });
      }
    }
    const std::int64_t at = (row * s.ow + column) * s.c + channel;
    if (base != nullptr) load<N>(base + at, below);
    unroll<N>([&](int j) { sum[j] += below[j]; });
    store<N>(y + at, sum);
  });
}

// Partials [parts, taps + 1, c] over dy's pixels, the rows of the plan; blockIdx.y is the tap,
// number `taps` the bias, whose input is 1.
template <class T>
__global__ void window_weight_gradient(DepthwiseShape s, ChannelPlan p, const T* __restrict__ x,
                                       const T* __restrict__ dy,
                                       Compute<T>* __restrict__ partials) {
  const ChannelPlace<1> place(p);
  const Window& k = s.window;
  const int tap = static_cast<int>(blockIdx.y), ky = tap / k.kw, kx = tap - ky * k.kw;
  Compute<T> sum[1] = {};
  std::int64_t pixel = place.first + threadIdx.y;
  place.for_rows(p, [&](std::int64_t at) {
    const std::int64_t row = pixel / s.ow, image = row / s.oh;
    const int oy = static_cast<int>(row - image * s.oh), ox = static_cast<int>(pixel - row * s.ow);
    const auto iy = source_of<false>(oy, ky, k.stride_h, k.pad_h, k.dilation_h, s.h);
    const auto ix = source_of<false>(ox, kx, k.stride_w, k.pad_w, k.dilation_w, s.w);
    pixel += blockDim.y;
    if (ky == k.kh)
      sum[0] += widen(dy[at]);
    else if (iy >= 0 && ix >= 0)
      sum[0] += widen(dy[at]) * widen(x[((image * s.h + iy) * s.w + ix) * s.c + place.channel]);
  });
  leave_sums(p, place, sum, partials + tap * p.c, gridDim.y);
}

// --- which kernel, and how much of it ---

// Whether packs of n channels fit, in size and address.
template <class T>
bool packable(int n, std::int64_t channels, TensorList activations, TensorList parameters) {
  return channels % n == 0 && aligned(activations, n * sizeof(T)) &&
         aligned(parameters, n * sizeof(Compute<T>));
}

// The size of a square window of stride 1 that march() knows, or 0.
int marching(const Window& k) {
  const bool plain =
      k.kh == k.kw && k.stride_h == 1 && k.stride_w == 1 && k.dilation_h == 1 && k.dilation_w == 1;
  return plain && (k.kh == 3 || k.kh == 5) ? k.kh : 0;
}

// Bands as high as leaves enough threads to fill the device; their border rows are read twice.
March march_of(const DepthwiseShape& s, int size, int pack) {
  March m{};
  m.h = static_cast<int>(s.h);
  m.w = static_cast<int>(s.w);
  m.c = static_cast<int>(s.c);
  m.oh = static_cast<int>(s.oh);
  m.ow = static_cast<int>(s.ow);
  m.pad_h = s.window.pad_h;
  m.pad_w = s.window.pad_w;
  m.packs = m.c / pack;
  m.tiles = (m.ow + kColumns - 1) / kColumns;
  constexpr std::int64_t kEnough = 132 * 1024;
  for (m.rows = 6 * size + 1;; m.rows -= size) {
    m.bands = (m.oh + m.rows - 1) / m.rows;
    m.tasks = s.n * m.bands * m.tiles;
    if (m.rows <= size + 1 || m.tasks * m.packs >= kEnough) return m;
  }
}

// What the kernels of a forward or an input's gradient read and write.
struct Tensors {
  Tensor x, weight, bias, base, y;
};

template <class T, int K, bool Gelu>
void run_march(cudaStream_t stream, const DepthwiseShape& s, const Tensors& t, bool flip) {
  constexpr int kWide = kMarchPack<T, K>;
  const bool wide = packable<T>(kWide, s.c, {t.x, t.base, t.y}, {t.weight, t.bias});
  const March m = march_of(s, K, wide ? kWide : 1);
  launch("depthwise_march", wide ? march<T, K, kWide, Gelu> : march<T, K, 1, Gelu>,
         {dim3(parts_of(m.tasks * m.packs, kMarchThreads)), dim3(kMarchThreads)}, stream, m, t.x,
         t.weight, flip, t.bias, t.base, t.y);
}

template <class T, bool Transposed>
void run(cudaStream_t stream, DepthwiseShape s, const Tensors& t, Activation activation) {
  const int size = marching(s.window);
  check(activation == Activation::none || (activation == Activation::gelu && size == 3),
        "depthwise: GELU comes with 3x3 of stride 1 only");
  if (size > 0 && Transposed) {  // taps turned round, the rest of the padding
    s.window.pad_h = size - 1 - s.window.pad_h;
    s.window.pad_w = size - 1 - s.window.pad_w;
  }
  if (activation == Activation::gelu) return run_march<T, 3, true>(stream, s, t, Transposed);
  if (size == 3) return run_march<T, 3, false>(stream, s, t, Transposed);
  if (size == 5) return run_march<T, 5, false>(stream, s, t, Transposed);
  constexpr int N = static_cast<int>(16 / sizeof(Compute<T>));
  const bool wide = packable<T>(N, s.c, {t.x, t.base, t.y}, {t.weight, t.bias});
  const RowWork work(s.n * s.oh, s.ow, s.c / (wide ? N : 1));
  launch("depthwise", wide ? window_sums<T, N, Transposed> : window_sums<T, 1, Transposed>,
         work.grid(), stream, s, work, t.x, t.weight, t.bias, t.base, t.y);
}

// Partial sums of taps and of dy over groups of pixels: [groups, taps + 1, c].
Tensor empty_sums(std::int64_t groups, const DepthwiseShape& s, const Tensor& x) {
  return Tensor::empty({groups, s.taps() + 1, s.c}, parameter_dtype(x.dtype()), x.device());
}

template <class T, int K>
Tensor march_weight_sums(cudaStream_t stream, const DepthwiseShape& s, int processors,
                         const Tensor& x, const Tensor& dy) {
  constexpr int N = kMarchPack<T, K>;
  const March m = march_of(s, K, N);
  int lanes = 32;
  while (lanes > 1 && lanes / 2 >= m.packs) lanes /= 2;
  const int slices = (m.packs + lanes - 1) / lanes, slots = kMarchThreads / lanes;
  const std::size_t shared = sizeof(Compute<T>) * (K * K + 1) * N * kMarchThreads;
  const int at_once = blocks_at_once(march_weights<T, K, N>, kMarchThreads, shared, processors);
  const std::int64_t groups =
      std::clamp<std::int64_t>(parts_of(m.tasks, slots), 1, std::max(1, at_once / slices));
  const Tensor partials = empty_sums(groups, s, x);
  launch("depthwise_march_weights", march_weights<T, K, N>,
         {dim3(slices * groups), dim3(kMarchThreads), shared}, stream, m, lanes, groups, x, dy,
         partials);
  return partials;
}

template <class T>
Tensor weight_sums(cudaStream_t stream, const DepthwiseShape& s, int processors, const Tensor& x,
                   const Tensor& dy) {
  const int size = marching(s.window);
  if (size == 3 && packable<T>(kMarchPack<T, 3>, s.c, {x, dy}, {}))
    return march_weight_sums<T, 3>(stream, s, processors, x, dy);
  if (size == 5 && packable<T>(kMarchPack<T, 5>, s.c, {x, dy}, {}))
    return march_weight_sums<T, 5>(stream, s, processors, x, dy);
  const ChannelGrid g = sums_grid<T>({1, s.n * s.oh * s.ow, s.c}, 1, 1);
  const Tensor partials = empty_sums(g.blocks(), s, x);
  launch("depthwise_weight_gradient", window_weight_gradient<T>,
         {dim3(g.grid.blocks.x, s.taps() + 1), g.grid.threads, g.grid.shared_bytes}, stream, s,
         g.plan, x, dy, partials);
  return partials;
}

}  // namespace

void CudaBackend::depthwise_into(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                 const Tensor& base, const Window& window, Activation activation,
                                 Tensor& y) {
  if (y.numel() == 0) return;
  dispatch_activation(x.dtype(), "depthwise", [&]<class T>() {
    run<T, false>(stream_, depthwise_shape(x, window), {x, weight, bias, base, y}, activation);
  });
}

Tensor CudaBackend::depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias,
                              const Tensor& base, const Window& window) {
  const DepthwiseShape s = depthwise_shape(x, window);
  Tensor y = empty({s.n, s.oh, s.ow, s.c}, x.dtype());
  Scope scope(*this, costs::depthwise(x, window, y, base));
  depthwise_into(x, weight, bias, base, window, Activation::none, y);
  return y;
}

ConvGradients CudaBackend::depthwise_backward(const Tensor& x, const Tensor& weight,
                                              const Tensor& dy, const Window& window, Needs needs,
                                              const Tensor& onto) {
  const DepthwiseShape s = depthwise_shape(x, window);
  Scope scope(*this, costs::depthwise_backward(x, window, dy, needs, onto));
  ConvGradients g = empty_conv_gradients(x, weight, dy, needs);
  if (dy.numel() == 0) {
    if (onto.defined()) g.dx = onto;
    return g;
  }
  dispatch_activation(x.dtype(), "depthwise", [&]<class T>() {
    if (needs.dx && x.numel() > 0) {
      DepthwiseShape back = s;
      std::swap(back.h, back.oh);
      std::swap(back.w, back.ow);
      run<T, true>(stream_, back, {dy, weight, {}, onto, g.dx}, Activation::none);
    }
    if (needs.dweight || needs.dbias)
      add_partials(stream_, weight_sums<T>(stream_, s, properties_.multiProcessorCount, x, dy),
                   {{0, g.dweight}, {s.taps() * s.c, g.dbias}});
  });
  return g;
}

}  // namespace nextgrad::cuda

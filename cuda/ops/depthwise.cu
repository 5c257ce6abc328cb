// Depth-wise convolution. Square windows of stride 1 march down the image (depthwise_march.h); for
// all others a thread has a pack of channels of one output and reads every tap where it lies.
#include <fmt/format.h>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"
#include "cuda/kit/partials.h"
#include "cuda/ops/depthwise.h"
#include "cuda/ops/depthwise_march.h"

namespace nextgrad::cuda {

namespace {

// --- any window ---

struct Place {
  std::int64_t image;
  int y, x, channel;
};
// Where element `index` of [n, h, w, packs] lies.
__device__ __forceinline__ Place place(std::int64_t index, int h, int w, int packs, int pack) {
  const std::int64_t pixel = index / packs, row = pixel / w;
  return {row / h, static_cast<int>(row % h), static_cast<int>(pixel % w),
          static_cast<int>(index % packs) * pack};
}

template <class T, int N>
__global__ void window_forward(DepthwiseShape s, const T* __restrict__ x,
                               const Compute<T>* __restrict__ weight,
                               const Compute<T>* __restrict__ bias, const T* __restrict__ base,
                               T* __restrict__ y) {
  using C = Compute<T>;
  const Window& k = s.window;
  const std::int64_t count = s.n * s.oh * s.ow * (s.c / N);
  for (std::int64_t index = global_index(); index < count; index += global_threads()) {
    const Place at = place(index, s.oh, s.ow, s.c / N, N);
    const int top = at.y * k.stride_h - k.pad_h, left = at.x * k.stride_w - k.pad_w;
    const T* image = x + at.image * s.h * s.w * s.c + at.channel;
    C sum[N] = {};
    if (bias != nullptr) load<N>(bias + at.channel, sum);
    for (int ky = 0; ky < k.kh; ++ky) {
      const int iy = top + ky * k.dilation_h;
      if (iy < 0 || iy >= s.h) continue;
#pragma unroll 4
      for (int kx = 0; kx < k.kw; ++kx) {
        const int ix = left + kx * k.dilation_w;
        if (ix < 0 || ix >= s.w) continue;
        C in[N], w[N];
        load<N>(image + (static_cast<std::int64_t>(iy) * s.w + ix) * s.c, in);
        load<N>(weight + static_cast<std::int64_t>(ky * k.kw + kx) * s.c + at.channel, w);
        for (int j = 0; j < N; ++j) sum[j] += in[j] * w[j];
      }
    }
    C below[N] = {};
    if (base != nullptr) load<N>(base + index * N, below);
    for (int j = 0; j < N; ++j) sum[j] += below[j];
    store<N>(y + index * N, sum);
  }
}

template <class T, int N>
__global__ void window_input_gradient(DepthwiseShape s, const T* __restrict__ dy,
                                      const Compute<T>* __restrict__ weight, T* __restrict__ dx) {
  using C = Compute<T>;
  const Window& k = s.window;
  const std::int64_t count = s.n * s.h * s.w * (s.c / N);
  for (std::int64_t index = global_index(); index < count; index += global_threads()) {
    const Place at = place(index, s.h, s.w, s.c / N, N);
    const T* gradients = dy + at.image * s.oh * s.ow * s.c + at.channel;
    C sum[N] = {};
    for (int ky = 0; ky < k.kh; ++ky) {
      const int down = at.y + k.pad_h - ky * k.dilation_h, oy = down / k.stride_h;
      if (down < 0 || oy >= s.oh || oy * k.stride_h != down) continue;
#pragma unroll 4
      for (int kx = 0; kx < k.kw; ++kx) {
        const int across = at.x + k.pad_w - kx * k.dilation_w, ox = across / k.stride_w;
        if (across < 0 || ox >= s.ow || ox * k.stride_w != across) continue;
        C g[N], w[N];
        load<N>(gradients + (static_cast<std::int64_t>(oy) * s.ow + ox) * s.c, g);
        load<N>(weight + static_cast<std::int64_t>(ky * k.kw + kx) * s.c + at.channel, w);
        for (int j = 0; j < N; ++j) sum[j] += g[j] * w[j];
      }
    }
    store<N>(dx + index * N, sum);
  }
}

constexpr int kTaps = 8, kPixelWarps = 8;
constexpr int kPixelRun = 64;  // pixels that a thread sums up in T

// kTaps rows of partials [groups][taps + 1][c] a block, one channel a lane; tap number `taps` is
// the bias, whose input is 1.
template <class T>
__global__ void window_weight_gradient(DepthwiseShape s, int groups, const T* __restrict__ x,
                                       const T* __restrict__ dy,
                                       Compute<T>* __restrict__ partials) {
  using C = Compute<T>;
  const Window& k = s.window;
  auto* all = shared_memory<C>();  // [kTaps][kPixelWarps][32]
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int group = static_cast<int>(blockIdx.x) % groups, taps = k.kh * k.kw;
  const int c = static_cast<int>(blockIdx.x) / groups * 32 + lane;
  const int first = static_cast<int>(blockIdx.y) * kTaps;
  C sum[kTaps] = {};
  double total[kTaps] = {};
  int run = 0;
  const std::int64_t pixels = c < s.c ? s.n * s.oh * s.ow : 0;
  for (std::int64_t p = std::int64_t{group} * kPixelWarps + warp; p < pixels;
       p += std::int64_t{groups} * kPixelWarps) {
    const Place at = place(p, s.oh, s.ow, 1, 0);
    const C g = widen(dy[p * s.c + c]);
    const T* image = x + at.image * s.h * s.w * s.c + c;
#pragma unroll
    for (int i = 0; i < kTaps; ++i) {
      const int ky = (first + i) / k.kw, kx = (first + i) % k.kw;
      const int iy = at.y * k.stride_h - k.pad_h + ky * k.dilation_h;
      const int ix = at.x * k.stride_w - k.pad_w + kx * k.dilation_w;
      if (first + i == taps) sum[i] += g;
      if (first + i < taps && iy >= 0 && iy < s.h && ix >= 0 && ix < s.w)
        sum[i] += g * widen(image[(static_cast<std::int64_t>(iy) * s.w + ix) * s.c]);
    }
    if (++run < kPixelRun) continue;
    run = 0;
#pragma unroll
    for (int i = 0; i < kTaps; ++i) {
      total[i] += static_cast<double>(sum[i]);
      sum[i] = 0;
    }
  }
#pragma unroll
  for (int i = 0; i < kTaps; ++i)
    all[(i * kPixelWarps + warp) * 32 + lane] =
        static_cast<C>(total[i] + static_cast<double>(sum[i]));
  __syncthreads();
  if (c >= s.c || first + warp > taps) return;  // warp number i adds up tap number i
  C block = 0;
  for (int other = 0; other < kPixelWarps; ++other)
    block += all[(warp * kPixelWarps + other) * 32 + lane];
  partials[(static_cast<std::int64_t>(group) * (taps + 1) + first + warp) * s.c + c] = block;
}
static_assert(kTaps == kPixelWarps);

// --- which kernel, and how much of it ---

// Whether packs of N channels begin at multiples of their size.
template <class T, int N>
bool packable(int channels, std::initializer_list<const void*> activations,
              std::initializer_list<const void*> parameters) {
  bool fits = channels % N == 0;
  for (const void* p : activations)
    fits &= reinterpret_cast<std::uintptr_t>(p) % (N * sizeof(T)) == 0;
  for (const void* p : parameters)
    fits &= reinterpret_cast<std::uintptr_t>(p) % (N * sizeof(Compute<T>)) == 0;
  return fits;
}

// The size of a square window of stride 1 that march() knows, or 0.
int marching(const Window& k) {
  const bool plain =
      k.kh == k.kw && k.stride_h == 1 && k.stride_w == 1 && k.dilation_h == 1 && k.dilation_w == 1;
  return plain && (k.kh == 3 || k.kh == 5) ? k.kh : 0;
}

// Bands as high as leaves enough threads to fill the device; their border rows are read twice.
template <int K>
March march_of(const DepthwiseShape& s, int pack) {
  March m{s.h, s.w, s.c, s.oh, s.ow, s.window.pad_h, s.window.pad_w, s.c / pack, 0, 0, 0, 0};
  m.tiles = (s.ow + kRun - 1) / kRun;
  constexpr std::int64_t kEnough = 132 * 1024;
  for (m.rows = 6 * K + 1;; m.rows -= K) {
    m.bands = (s.oh + m.rows - 1) / m.rows;
    m.tasks = s.n * m.bands * m.tiles;
    if (m.rows <= K + 1 || m.tasks * m.packs >= kEnough) return m;
  }
}

template <class T, int K, int N, bool Gelu>
void run_march(cudaStream_t stream, const DepthwiseShape& s, const T* x, const Compute<T>* weight,
               bool flip, const Compute<T>* bias, const T* base, T* y) {
  const March m = march_of<K>(s, N);
  const std::int64_t blocks = (m.tasks * m.packs + kMarchThreads - 1) / kMarchThreads;
  launch("depthwise_march", march<T, K, N, Gelu>,
         Grid{dim3(static_cast<unsigned>(blocks)), dim3(kMarchThreads)}, stream, m, x, weight, flip,
         bias, base, y);
}

template <class T, int K, bool Gelu>
void march_forward(cudaStream_t stream, const DepthwiseShape& s, const T* x,
                   const Compute<T>* weight, bool flip, const Compute<T>* bias, const T* base,
                   T* y) {
  constexpr int N = kMarchPack<T, K>;
  if (packable<T, N>(s.c, {x, base, y}, {weight, bias}))
    return run_march<T, K, N, Gelu>(stream, s, x, weight, flip, bias, base, y);
  run_march<T, K, 1, Gelu>(stream, s, x, weight, flip, bias, base, y);
}

template <class T, int N>
void run_window_forward(cudaStream_t stream, const DepthwiseShape& s, const T* x,
                        const Compute<T>* weight, const Compute<T>* bias, const T* base, T* y) {
  launch("depthwise", window_forward<T, N>, grid_for(s.n * s.oh * s.ow * (s.c / N)), stream, s, x,
         weight, bias, base, y);
}

template <class T>
void forward(cudaStream_t stream, const DepthwiseShape& s, const T* x, const Compute<T>* weight,
             const Compute<T>* bias, const T* base, Activation activation, T* y) {
  const int size = marching(s.window);
  if (activation == Activation::gelu) {
    check(size == 3, "depthwise: GELU comes with 3x3 of stride 1 only");
    return march_forward<T, 3, true>(stream, s, x, weight, false, bias, base, y);
  }
  if (size == 3) return march_forward<T, 3, false>(stream, s, x, weight, false, bias, base, y);
  if (size == 5) return march_forward<T, 5, false>(stream, s, x, weight, false, bias, base, y);
  constexpr int N = static_cast<int>(16 / sizeof(Compute<T>));
  if (packable<T, N>(s.c, {x, base, y}, {weight, bias}))
    return run_window_forward<T, N>(stream, s, x, weight, bias, base, y);
  run_window_forward<T, 1>(stream, s, x, weight, bias, base, y);
}

template <class T>
void input_gradient(cudaStream_t stream, const DepthwiseShape& s, const T* dy,
                    const Compute<T>* weight, T* dx) {
  if (s.n * s.h * s.w * s.c == 0) return;
  const int size = marching(s.window);
  // As a convolution of dy: taps turned round, the rest of the padding.
  DepthwiseShape t{s.n, s.oh, s.ow, s.c, s.h, s.w, s.window};
  t.window.pad_h = size - 1 - s.window.pad_h;
  t.window.pad_w = size - 1 - s.window.pad_w;
  if (size == 3)
    return march_forward<T, 3, false>(stream, t, dy, weight, true, nullptr, nullptr, dx);
  if (size == 5)
    return march_forward<T, 5, false>(stream, t, dy, weight, true, nullptr, nullptr, dx);
  constexpr int N = static_cast<int>(16 / sizeof(Compute<T>));
  const bool packs = packable<T, N>(s.c, {dy, dx}, {weight});
  launch("depthwise_input_gradient",
         packs ? window_input_gradient<T, N> : window_input_gradient<T, 1>,
         grid_for(s.n * s.h * s.w * (s.c / (packs ? N : 1))), stream, s, dy, weight, dx);
}

// Sums of taps and of dy in groups of pixels: [groups][taps + 1][c].
struct WeightSums {
  int groups;
  std::int64_t pitch;
};

template <class T, int K, int N, class Empty>
Tensor march_weight_sums(cudaStream_t stream, const DepthwiseShape& s, int processors, const T* x,
                         const T* dy, Empty&& empty, WeightSums& sums) {
  const March m = march_of<K>(s, N);
  int lanes = 32;
  while (lanes > 1 && lanes / 2 >= m.packs) lanes /= 2;
  const int slices = (m.packs + lanes - 1) / lanes, slots = kMarchThreads / lanes;
  const std::int64_t most = (m.tasks + slots - 1) / slots;
  sums.groups = static_cast<int>(std::clamp<std::int64_t>(most, 1, 1 + 4 * processors / slices));
  const Tensor partials = empty(sums.groups * sums.pitch);
  launch("depthwise_march_weights", march_weights<T, K, N>,
         Grid{dim3(static_cast<unsigned>(slices * sums.groups)), dim3(kMarchThreads),
              sizeof(Compute<T>) * (K * K + 1) * N * kMarchThreads},
         stream, m, lanes, sums.groups, x, dy, partials.data<Compute<T>>());
  return partials;
}

template <class T, class Empty>
Tensor weight_sums(cudaStream_t stream, const DepthwiseShape& s, int processors, const T* x,
                   const T* dy, Empty&& empty, WeightSums& sums) {
  const int size = marching(s.window);
  constexpr int N3 = kMarchPack<T, 3>, N5 = kMarchPack<T, 5>;
  if (size == 3 && packable<T, N3>(s.c, {x, dy}, {}))
    return march_weight_sums<T, 3, N3>(stream, s, processors, x, dy, empty, sums);
  if (size == 5 && packable<T, N5>(s.c, {x, dy}, {}))
    return march_weight_sums<T, 5, N5>(stream, s, processors, x, dy, empty, sums);
  const int slices = (s.c + 31) / 32, chunks = s.window.kh * s.window.kw / kTaps + 1;
  const std::int64_t most = (s.n * s.oh * s.ow + kPixelWarps - 1) / kPixelWarps;
  sums.groups =
      static_cast<int>(std::clamp<std::int64_t>(most, 1, 1 + 8 * processors / (slices * chunks)));
  const Tensor partials = empty(sums.groups * sums.pitch);
  launch("depthwise_weight_gradient", window_weight_gradient<T>,
         Grid{dim3(static_cast<unsigned>(slices * sums.groups), static_cast<unsigned>(chunks)),
              dim3(32 * kPixelWarps), sizeof(Compute<T>) * kTaps * kPixelWarps * 32},
         stream, s, sums.groups, x, dy, partials.data<Compute<T>>());
  return partials;
}

double flops(const DepthwiseShape& s) {
  return 2.0 * static_cast<double>(s.n * s.oh * s.ow * s.c * s.window.kh * s.window.kw);
}

}  // namespace

DepthwiseShape depthwise_shape(const Tensor& x, const Window& window) {
  const auto extent = [](std::int64_t n) { return static_cast<int>(n); };
  return {x.dim(0),
          extent(x.dim(1)),
          extent(x.dim(2)),
          extent(x.dim(3)),
          extent(window.out_h(x.dim(1))),
          extent(window.out_w(x.dim(2))),
          window};
}

void depthwise_forward(cudaStream_t stream, const Tensor& x, const Tensor& weight,
                       const Tensor& bias, const Tensor& base, const Window& window,
                       Activation activation, Tensor& y) {
  if (y.numel() == 0) return;
  dispatch_activation(x.dtype(), "depthwise", [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    forward<T>(stream, depthwise_shape(x, window), x.data<T>(), weight.data<C>(),
               data_or_null<const C>(bias), data_or_null<const T>(base), activation, y.data<T>());
  });
}

Tensor CudaBackend::depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias,
                              const Tensor& base, const Window& window) {
  const DepthwiseShape s = depthwise_shape(x, window);
  Tensor y = empty({s.n, s.oh, s.ow, s.c}, x.dtype());
  const std::string name =
      Profile::active() ? fmt::format("depthwise {}x{}", window.kh, window.kw) : "";
  Scope scope(*this, name.c_str(), flops(s),
              static_cast<double>(x.nbytes() + y.nbytes() * (base.defined() ? 2 : 1)));
  depthwise_forward(stream_, x, weight, bias, base, window, Activation::none, y);
  return y;
}

ConvGradients CudaBackend::depthwise_backward(const Tensor& x, const Tensor& weight,
                                              const Tensor& dy, const Window& window, Needs needs) {
  const DepthwiseShape s = depthwise_shape(x, window);
  const bool products = needs.dweight || needs.dbias;
  const int passes = (needs.dx ? 1 : 0) + (products ? 1 : 0);
  const std::string name =
      Profile::active() ? fmt::format("depthwise {}x{} backward", window.kh, window.kw) : "";
  Scope scope(*this, name.c_str(), passes * flops(s),
              static_cast<double>(dy.nbytes() + passes * x.nbytes()));
  const DType parameters = parameter_dtype(x.dtype());
  ConvGradients g;
  if (needs.dx) g.dx = empty_like(x);
  if (needs.dweight) g.dweight = empty(weight.shape(), parameters);
  if (needs.dbias) g.dbias = empty({s.c}, parameters);
  dispatch_activation(x.dtype(), "depthwise", [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    if (needs.dx) input_gradient<T>(stream_, s, dy.data<T>(), weight.data<C>(), g.dx.data<T>());
    if (!products || s.c == 0) return;
    const std::int64_t taps = std::int64_t{window.kh} * window.kw;
    WeightSums sums{1, (taps + 1) * s.c};
    const Tensor partials = weight_sums<T>(
        stream_, s, properties_.multiProcessorCount, x.data<T>(), dy.data<T>(),
        [&](std::int64_t count) { return empty({count}, parameters); }, sums);
    const C* from = partials.data<C>();
    if (needs.dweight)
      add_partials(stream_, from, sums.groups, sums.pitch, taps * s.c, g.dweight.data<C>());
    if (needs.dbias)
      add_partials(stream_, from + taps * s.c, sums.groups, sums.pitch, std::int64_t{s.c},
                   g.dbias.data<C>());
  });
  return g;
}

}  // namespace nextgrad::cuda

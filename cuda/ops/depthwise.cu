// Depth-wise convolution. Square windows of stride 1 march down the image (depthwise_march.h); for
// all others a thread has a pack of channels of one output and reads every tap where it lies.
#include <fmt/format.h>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/sums.h"
#include "cuda/ops/depthwise_march.h"

namespace nextgrad::cuda {
namespace {

// From x [n, h, w, c] to y [n, oh, ow, c]. Transposed: from the gradient of such a y to that of x.
struct DepthwiseShape {
  std::int64_t n;
  int h, w, c, oh, ow;
  Window window;

  DepthwiseShape(const Tensor& x, const Window& k)
      : n(x.dim(0)),
        h(static_cast<int>(x.dim(1))),
        w(static_cast<int>(x.dim(2))),
        c(static_cast<int>(x.dim(3))),
        oh(static_cast<int>(k.out_h(h))),
        ow(static_cast<int>(k.out_w(w))),
        window(k) {}
  int taps() const { return window.kh * window.kw; }
  double flops() const { return 2.0 * n * oh * ow * c * taps(); }
};

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

// Where tap k of result y lies along an axis of so many numbers; -1: outside. Transposed: which
// number has y at its tap k.
template <bool Transposed>
__device__ __forceinline__ int source_of(int y, int k, int stride, int pad, int dilation,
                                         int extent) {
  int at = Transposed ? y + pad - k * dilation : y * stride - pad + k * dilation;
  if (Transposed) {
    if (at < 0 || at % stride != 0) return -1;
    at /= stride;
  }
  return at >= 0 && at < extent ? at : -1;
}

template <class T, int N, bool Transposed>
__global__ void window_sums(DepthwiseShape s, const T* __restrict__ x,
                            const Compute<T>* __restrict__ weight,
                            const Compute<T>* __restrict__ bias, const T* __restrict__ base,
                            T* __restrict__ y) {
  using C = Compute<T>;
  const Window& k = s.window;
  const std::int64_t count = s.n * s.oh * s.ow * (s.c / N);
  for (std::int64_t index = global_index(); index < count; index += global_threads()) {
    const Place at = place(index, s.oh, s.ow, s.c / N, N);
    const T* image = x + at.image * s.h * s.w * s.c + at.channel;
    C sum[N] = {}, below[N] = {};
    if (bias != nullptr) load<N>(bias + at.channel, sum);
    for (int ky = 0; ky < k.kh; ++ky) {
      const int iy = source_of<Transposed>(at.y, ky, k.stride_h, k.pad_h, k.dilation_h, s.h);
      if (iy < 0) continue;
#pragma unroll 4
      for (int kx = 0; kx < k.kw; ++kx) {
        const int ix = source_of<Transposed>(at.x, kx, k.stride_w, k.pad_w, k.dilation_w, s.w);
        if (ix < 0) continue;
        C in[N], w[N];
        load<N>(image + (std::int64_t{iy} * s.w + ix) * s.c, in);
        load<N>(weight + std::int64_t{ky * k.kw + kx} * s.c + at.channel, w);
        for (int j = 0; j < N; ++j) sum[j] += in[j] * w[j];
      }
    }
    if (base != nullptr) load<N>(base + index * N, below);
    for (int j = 0; j < N; ++j) sum[j] += below[j];
    store<N>(y + index * N, sum);
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
    unroll<kTaps>([&](int i) {
      const int ky = (first + i) / k.kw, kx = (first + i) % k.kw;
      const int iy = source_of<false>(at.y, ky, k.stride_h, k.pad_h, k.dilation_h, s.h);
      const int ix = source_of<false>(at.x, kx, k.stride_w, k.pad_w, k.dilation_w, s.w);
      if (first + i == taps) sum[i] += g;
      if (first + i < taps && iy >= 0 && ix >= 0)
        sum[i] += g * widen(image[(static_cast<std::int64_t>(iy) * s.w + ix) * s.c]);
    });
    if (++run < kPixelRun) continue;
    run = 0;
    unroll<kTaps>([&](int i) {
      total[i] += static_cast<double>(sum[i]);
      sum[i] = 0;
    });
  }
  unroll<kTaps>([&](int i) {
    all[(i * kPixelWarps + warp) * 32 + lane] =
        static_cast<C>(total[i] + static_cast<double>(sum[i]));
  });
  __syncthreads();
  if (c >= s.c || first + warp > taps) return;  // warp number i adds up tap number i
  C block = 0;
  for (int other = 0; other < kPixelWarps; ++other)
    block += all[(warp * kPixelWarps + other) * 32 + lane];
  partials[(static_cast<std::int64_t>(group) * (taps + 1) + first + warp) * s.c + c] = block;
}
static_assert(kTaps == kPixelWarps);

// --- which kernel, and how much of it ---

// Whether packs of n channels fit, in size and address.
template <class T>
bool packable(int n, int channels, TensorList activations, TensorList parameters) {
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
  March m{s.h, s.w, s.c, s.oh, s.ow, s.window.pad_h, s.window.pad_w, s.c / pack, 0, 0, 0, 0};
  m.tiles = (s.ow + kColumns - 1) / kColumns;
  constexpr std::int64_t kEnough = 132 * 1024;
  for (m.rows = 6 * size + 1;; m.rows -= size) {
    m.bands = (s.oh + m.rows - 1) / m.rows;
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
  launch("depthwise", wide ? window_sums<T, N, Transposed> : window_sums<T, 1, Transposed>,
         grid_for(t.y.numel() / (wide ? N : 1)), stream, s, t.x, t.weight, t.bias, t.base, t.y);
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
  const std::int64_t groups =
      std::clamp<std::int64_t>(parts_of(m.tasks, slots), 1, 1 + 4 * processors / slices);
  const Tensor partials = empty_sums(groups, s, x);
  launch("depthwise_march_weights", march_weights<T, K, N>,
         {dim3(slices * groups), dim3(kMarchThreads),
          sizeof(Compute<T>) * (K * K + 1) * N * kMarchThreads},
         stream, m, lanes, groups, x, dy, partials);
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
  const int slices = (s.c + 31) / 32, chunks = s.taps() / kTaps + 1;
  const std::int64_t groups = std::clamp<std::int64_t>(parts_of(s.n * s.oh * s.ow, kPixelWarps), 1,
                                                       1 + 8 * processors / (slices * chunks));
  const Tensor partials = empty_sums(groups, s, x);
  launch("depthwise_weight_gradient", window_weight_gradient<T>,
         {dim3(slices * groups, chunks), dim3(32 * kPixelWarps),
          sizeof(Compute<T>) * kTaps * kPixelWarps * 32},
         stream, s, groups, x, dy, partials);
  return partials;
}

std::string op_name(const Window& window, const char* rest) {
  return Profile::active() ? fmt::format("depthwise_{}x{}{}", window.kh, window.kw, rest) : "";
}

}  // namespace

void CudaBackend::depthwise_into(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                 const Tensor& base, const Window& window, Activation activation,
                                 Tensor& y) {
  if (y.numel() == 0) return;
  dispatch_activation(x.dtype(), "depthwise", [&]<class T>() {
    run<T, false>(stream_, DepthwiseShape(x, window), {x, weight, bias, base, y}, activation);
  });
}

Tensor CudaBackend::depthwise(const Tensor& x, const Tensor& weight, const Tensor& bias,
                              const Tensor& base, const Window& window) {
  const DepthwiseShape s(x, window);
  Tensor y = empty({s.n, s.oh, s.ow, s.c}, x.dtype());
  Scope scope(*this, op_name(window, ""), s.flops(),
              x.nbytes() + y.nbytes() * (base.defined() ? 2 : 1));
  depthwise_into(x, weight, bias, base, window, Activation::none, y);
  return y;
}

ConvGradients CudaBackend::depthwise_backward(const Tensor& x, const Tensor& weight,
                                              const Tensor& dy, const Window& window, Needs needs) {
  const DepthwiseShape s(x, window);
  const bool products = needs.dweight || needs.dbias;
  const int passes = (needs.dx ? 1 : 0) + (products ? 1 : 0);
  Scope scope(*this, op_name(window, "_backward"), passes * s.flops(),
              dy.nbytes() + passes * x.nbytes());
  const DType parameters = parameter_dtype(x.dtype());
  ConvGradients g;
  if (needs.dx) g.dx = empty_like(x);
  if (needs.dweight) g.dweight = empty(weight.shape(), parameters);
  if (needs.dbias) g.dbias = empty({s.c}, parameters);
  dispatch_activation(x.dtype(), "depthwise", [&]<class T>() {
    if (needs.dx && x.numel() > 0) {
      DepthwiseShape back = s;
      std::swap(back.h, back.oh);
      std::swap(back.w, back.ow);
      run<T, true>(stream_, back, {dy, weight, {}, {}, g.dx}, Activation::none);
    }
    if (products && s.c > 0)
      add_partials(stream_, weight_sums<T>(stream_, s, properties_.multiProcessorCount, x, dy),
                   {{0, g.dweight}, {std::int64_t{s.taps()} * s.c, g.dbias}});
  });
  return g;
}

}  // namespace nextgrad::cuda

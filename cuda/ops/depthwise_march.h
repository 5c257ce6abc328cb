// Kernels of square depth-wise convolutions of stride 1, the fast ones; depthwise.cu chooses.
//
// A thread has N channels of kColumns neighbouring columns and marches down `rows` rows of the
// image:
//
//       x row    # # # # # # # #     kColumns + K - 1 packs, each loaded once,
//                 \ | all taps /     multiplied by K x K weights in registers
//       sums      + + + +            of the K rows of outputs that see this row: a ring in
//                 + + + +            registers, of which one row is complete after every step
//                 + + + +
//
// so that an output costs (kColumns + K - 1) / kColumns loads. Lanes of a warp are neighbours in
// channels. The gradient of weights is the same march with a ring of rows of dy and the sums of all
// taps in registers; the input's gradient is the convolution of dy with weights turned round.
#pragma once

#include "cuda/kit/kernel.h"

namespace nextgrad::cuda {
namespace {

constexpr int kColumns = 4, kMarchThreads = 128;
// Channels of a thread; more would not leave room for the weights in registers.
template <class T, int K>
constexpr int kMarchPack = static_cast<int>((K == 3 ? 16 : 8) / sizeof(Compute<T>));

struct March {
  int h, w, c, oh, ow, pad_h, pad_w;
  int packs, tiles, bands, rows;  // of channels, columns, rows; rows of a band, K times m plus 1
  std::int64_t tasks;             // without packs: images * bands * tiles
};

// Where a task's outputs begin.
struct MarchTask {
  std::int64_t image;
  int x, y;
};
__device__ __forceinline__ MarchTask march_task(const March& s, std::int64_t i) {
  const std::int64_t band = i / s.tiles;
  return {band / s.bands, static_cast<int>(i % s.tiles) * kColumns,
          static_cast<int>(band % s.bands) * s.rows};
}

// `count` neighbouring packs of row y of an image [h, w, c] from column x on; zeros outside.
template <int N, int Count, class T>
__device__ __forceinline__ void load_run(const T* image, int h, int w, int c, int y, int x,
                                         Compute<T> (&to)[Count][N]) {
  const bool inside = y >= 0 && y < h;
  const T* from = image + (static_cast<std::int64_t>(y) * w + x) * c;
  unroll<Count>([&](int i) {
    if (inside && x + i >= 0 && x + i < w) {
      load<N>(from + static_cast<std::int64_t>(i) * c, to[i]);
    } else {
      unroll<N>([&](int j) { to[i][j] = 0; });
    }
  });
}

// Writes base + activation(sum + bias) of one row of a thread's outputs, and clears the sums.
template <int N, bool Gelu, class T>
__device__ __forceinline__ void finish_run(const T* base, T* y, std::int64_t at, int c, int columns,
                                           const Compute<T> (&bias)[N],
                                           Compute<T> (&sum)[kColumns][N]) {
  unroll<kColumns>([&](int p) {
    if (p < columns) {
      Compute<T> out[N], below[N] = {};
      if (base != nullptr) load<N>(base + at + static_cast<std::int64_t>(p) * c, below);
      unroll<N>([&](int j) {
        out[j] = sum[p][j] + bias[j];
        if constexpr (Gelu) out[j] = gelu(out[j]);
        out[j] += below[j];
      });
      store<N>(y + at + static_cast<std::int64_t>(p) * c, out);
    }
    unroll<N>([&](int j) { sum[p][j] = 0; });
  });
}

// One thread per pack of channels and task; `flip` turns the taps round.
template <class T, int K, int N, bool Gelu>
__global__ void __launch_bounds__(kMarchThreads, 3)
    march(March s, const T* __restrict__ x, const Compute<T>* __restrict__ weight, bool flip,
          const Compute<T>* __restrict__ bias, const T* __restrict__ base, T* __restrict__ y) {
  using C = Compute<T>;
  const std::int64_t index = global_index();
  if (index >= s.tasks * s.packs) return;
  const int channel = static_cast<int>(index % s.packs) * N;
  const MarchTask task = march_task(s, index / s.packs);
  C w[K * K][N], b[N] = {}, sum[K][kColumns][N] = {};
  unroll<K * K>([&](int t) { load<N>(weight + (flip ? K * K - 1 - t : t) * s.c + channel, w[t]); });
  if (bias != nullptr) load<N>(bias + channel, b);
  const T* image = x + task.image * s.h * s.w * s.c + channel;
  const int rows = s.oh - task.y < s.rows ? s.oh - task.y : s.rows, columns = s.ow - task.x;
  for (int first = 0; first < rows + K - 1; first += K) {
    unroll<K>([&](int u) {
      const int in_y = task.y - s.pad_h + first + u, out = first + u - (K - 1);
      C in[kColumns + K - 1][N];
      load_run<N>(image, s.h, s.w, s.c, in_y, task.x - s.pad_w, in);
      unroll<K * K, kColumns, N>([&](int t, int p, int j) {
        sum[(u - t / K + K) % K][p][j] += w[t][j] * in[p + t % K][j];
      });
      const std::int64_t pixel = (task.image * s.oh + task.y + out) * s.ow + task.x;
      finish_run<N, Gelu>(base, y, pixel * s.c + channel, s.c, out >= 0 && out < rows ? columns : 0,
                          b, sum[(u + 1) % K]);
    });
  }
}

// Adds a task's products of x and dy to sum [taps] and dy to sum [taps + 1].
template <class T, int K, int N>
__device__ __forceinline__ void march_products(const March& s, const MarchTask& task,
                                               const T* image, const T* dy, int channel,
                                               Compute<T> (&sum)[K * K + 1][N]) {
  using C = Compute<T>;
  C g[K][kColumns][N] = {};
  const int rows = s.oh - task.y < s.rows ? s.oh - task.y : s.rows;
  const T* gradients = dy + task.image * s.oh * s.ow * s.c + channel;
  image += task.image * s.h * s.w * s.c + channel;
  for (int first = 0; first < rows + K - 1; first += K) {
    unroll<K>([&](int u) {
      const int r = first + u;
      C in[kColumns + K - 1][N];
      load_run<N>(image, s.h, s.w, s.c, task.y - s.pad_h + r, task.x - s.pad_w, in);
      load_run<N>(gradients, s.oh, s.ow, s.c, r < rows ? task.y + r : -1, task.x, g[u]);
      unroll<kColumns, N>([&](int p, int j) { sum[K * K][j] += g[u][p][j]; });
      unroll<K * K, kColumns, N>([&](int t, int p, int j) {
        sum[t][j] += in[p + t % K][j] * g[(u - t / K + K) % K][p][j];
      });
    });
  }
}

// Sums of all taps and of dy: partials [groups][K * K + 1][c]. A block has `lanes` packs of
// channels (a power of two) and shares its group's tasks among the rest of its threads.
template <class T, int K, int N>
__global__ void __launch_bounds__(kMarchThreads)
    march_weights(March s, int lanes, int groups, const T* __restrict__ x, const T* __restrict__ dy,
                  Compute<T>* __restrict__ partials) {
  using C = Compute<T>;
  constexpr int kSums = K * K + 1;
  auto* all = shared_memory<C>();  // [kSums * N][kMarchThreads]
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int slot = static_cast<int>(threadIdx.x) / lanes, slots = kMarchThreads / lanes;
  const int group = static_cast<int>(blockIdx.x) % groups;
  const int first = static_cast<int>(blockIdx.x) / groups * lanes;  // pack of channels
  C sum[kSums][N] = {};
  if (first + lane < s.packs) {
    for (std::int64_t i = std::int64_t{group} * slots + slot; i < s.tasks;
         i += std::int64_t{groups} * slots)
      march_products<T, K, N>(s, march_task(s, i), x, dy, (first + lane) * N, sum);
  }
  unroll<kSums, N>(
      [&](int t, int j) { all[(t * N + j) * kMarchThreads + threadIdx.x] = sum[t][j]; });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kSums * N * lanes; i += kMarchThreads) {
    const int tap = i / (N * lanes), in_slice = i % (N * lanes), channel = first * N + in_slice;
    if (channel >= s.c) continue;
    const C* from = all + (tap * N + in_slice % N) * kMarchThreads + in_slice / N;
    C total = 0;
    for (int k = 0; k < slots; ++k) total += from[k * lanes];
    partials[(static_cast<std::int64_t>(group) * kSums + tap) * s.c + channel] = total;
  }
}

}  // namespace
}  // namespace nextgrad::cuda

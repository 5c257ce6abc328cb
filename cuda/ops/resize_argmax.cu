// The argmax of bilinearly resized logits, cell by cell: a cell is what lies between four
// neighbouring source positions. A value inside lies between the corners' smallest and largest, so
// only those classes can win whose largest corner reaches every other class's smallest; in a
// trained network's output that is one class in most cells. A warp owns a cell: its lanes are
// classes while it looks for the candidates, which it keeps in shared memory, and output pixels
// while these compete.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/taps.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

constexpr int kWarps = 4;          // of a block
constexpr int kCandidates = 256;   // most classes; with more the op is composed
constexpr int kPixelsPerLane = 2;  // competing at once

// A class's logits at the corners of a cell.
template <class C>
struct alignas(4 * sizeof(C)) Corners {
  C a0, a1, b0, b1;
  __device__ __forceinline__ C smallest() const {
    return std::fmin(std::fmin(a0, a1), std::fmin(b0, b1));
  }
  __device__ __forceinline__ C largest() const {
    return std::fmax(std::fmax(a0, a1), std::fmax(b0, b1));
  }
};

template <class T>
struct Cell {
  const T *a0, *a1, *b0, *b1;
  __device__ __forceinline__ Corners<Compute<T>> of(int c) const {
    return {widen(a0[c]), widen(a1[c]), widen(b0[c]), widen(b1[c])};
  }
};

// What a class's largest corner must reach, for the whole warp.
template <class T>
__device__ __forceinline__ Compute<T> least_of(const Cell<T>& cell, int k) {
  using C = Compute<T>;
  C floor = -C(INFINITY), size = 0, finite = 0;
  for (int c = static_cast<int>(threadIdx.x); c < k; c += 32) {
    const Corners<C> v = cell.of(c);
    const C low = v.smallest(), high = v.largest();
    floor = std::fmax(floor, low);
    size = std::fmax(size, std::fmax(-low, high));
    finite += C(0) * (v.a0 + v.a1) + C(0) * (v.b0 + v.b1);
  }
  floor = warp_reduce(floor, Max{});
  size = warp_reduce(size, Max{});
  finite = warp_reduce(finite);
  // Blending rounds, so a value may leave the corners' range by a few units in the last place; and
  // where anything is not finite the range says nothing.
  constexpr C kEpsilon = sizeof(C) == 4 ? C(1.1920928955078125e-7) : C(2.220446049250313e-16);
  return finite == 0 ? floor - 8 * kEpsilon * size : -C(INFINITY);
}

// Lists the classes that may win; returns their number.
template <class T>
__device__ __forceinline__ int list_candidates(const Cell<T>& cell, int k, Compute<T> least,
                                               Corners<Compute<T>>* list, int* names) {
  using C = Compute<T>;
  const int lane = static_cast<int>(threadIdx.x);
  int count = 0;
  for (int base = 0; base < k; base += 32) {
    const int c = base + lane;
    Corners<C> v{};
    bool wins = false;
    if (c < k) {
      v = cell.of(c);
      wins = !(v.largest() < least);  // not >=, so that NaN stays
    }
    const unsigned votes = __ballot_sync(kAllLanes, wins ? 1 : 0);
    if (wins) {
      const int at = count + __popc(votes & ((1u << lane) - 1u));
      list[at] = v;
      names[at] = c;
    }
    count += __popc(votes);
  }
  __syncwarp();
  return count;
}

// The output pixels of a cell: rows [top, bottom), columns [left, right).
struct Pixels {
  std::int64_t top, left;
  int rows, columns;
};

// The winners of the pixels `from` and on, kPixelsPerLane for each lane, among `count` candidates.
template <class C>
__device__ __forceinline__ void compete(const UpsampleShape& s, const Pixels& pixels, int from,
                                        const Corners<C>* list, const int* names, int count,
                                        std::int32_t* y) {
  C ty[kPixelsPerLane], tx[kPixelsPerLane], best[kPixelsPerLane];
  std::int64_t place[kPixelsPerLane];
  std::int32_t winner[kPixelsPerLane];
  unroll<kPixelsPerLane>([&](int i) {
    const int p = from + i * 32 + static_cast<int>(threadIdx.x);
    const int r = p / pixels.columns, c = p - r * pixels.columns;
    place[i] = r < pixels.rows ? (pixels.top + r) * s.ow + pixels.left + c : -1;
    ty[i] = r < pixels.rows ? tap_at<C>(s.rows, pixels.top + r).t : C(0);
    tx[i] = tap_at<C>(s.columns, pixels.left + c).t;
    best[i] = -C(INFINITY);
    winner[i] = 0;
  });
  for (int m = 0; m < count; ++m) {
    const Corners<C> v = list[m];
    const int name = names[m];
    unroll<kPixelsPerLane>([&](int i) {
      const C sy = C(1) - ty[i], left = sy * v.a0 + ty[i] * v.b0, right = sy * v.a1 + ty[i] * v.b1;
      const C value = (C(1) - tx[i]) * left + tx[i] * right;
      if (value > best[i]) best[i] = value, winner[i] = name;
    });
  }
  unroll<kPixelsPerLane>([&](int i) {
    if (place[i] >= 0) y[place[i]] = winner[i];
  });
}

template <class T>
__global__ void argmax_cells(const T* x, std::int32_t* y, UpsampleShape s) {
  using C = Compute<T>;
  auto* lists = shared_memory<Corners<C>>();
  const int warp = static_cast<int>(threadIdx.y);
  Corners<C>* list = lists + warp * kCandidates;
  int* names = reinterpret_cast<int*>(lists + kWarps * kCandidates) + warp * kCandidates;
  const std::int64_t index = std::int64_t{blockIdx.x} * kWarps + warp;
  if (index >= s.n * s.h * s.w) return;
  const std::int64_t row = index / s.w, i = index - row * s.w, image = row / s.h;
  const std::int64_t top = start_of(s.rows, row - image * s.h);
  const std::int64_t left = start_of(s.columns, i);
  const Pixels pixels{top, left, static_cast<int>(start_of(s.rows, row - image * s.h + 1) - top),
                      static_cast<int>(start_of(s.columns, i + 1) - left)};
  if (pixels.rows == 0 || pixels.columns == 0) return;
  const T* a0 = x + (row * s.w + i) * s.k;
  const std::int64_t beside = i + 1 < s.w ? s.k : 0;
  const std::int64_t under = row - image * s.h + 1 < s.h ? s.w * s.k : 0;
  const Cell<T> cell{a0, a0 + beside, a0 + under, a0 + under + beside};
  const int count = list_candidates(cell, s.k, least_of(cell, s.k), list, names);
  std::int32_t* to = y + image * s.oh * s.ow;
  for (int from = 0; from < pixels.rows * pixels.columns; from += 32 * kPixelsPerLane)
    compete(s, pixels, from, list, names, count, to);
}

}  // namespace

Tensor CudaBackend::resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w) {
  const ResizeExtents e = resize_extents("resize_argmax", x.shape(), h, w);
  check(e.c > 0, "resize_argmax: no channels in {}", x.shape().str());
  if (e.c > kCandidates) return Fused::resize_argmax(x, h, w);
  const UpsampleShape s = upsample_shape(x, h, w);
  const std::int64_t cells = s.n * s.h * s.w;
  Tensor y = empty({e.n, h, w}, DType::i32);
  Scope scope(*this, costs::resize_argmax(x, h, w));
  if (cells == 0) return y;
  dispatch_activation(x.dtype(), "resize_argmax", [&]<class T>() {
    constexpr std::size_t kEach = sizeof(Corners<Compute<T>>) + sizeof(int);
    launch("resize_argmax", argmax_cells<T>,
           {dim3(parts_of(cells, kWarps)), dim3(32, kWarps), kWarps * kCandidates * kEach}, stream_,
           x, y, s);
  });
  return y;
}

}  // namespace nextgrad::cuda

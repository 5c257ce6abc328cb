// Residual connection with layer scale and drop path, and the gate's backward. x is [images, rows,
// c] as in channels.h; a thread keeps what belongs to its channels. The sums for ds are those of
// blocks, then of their partials in double. Bound: memory, everything is touched once.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/channel_statistics.h"
#include "cuda/kit/kernel.h"

namespace nextgrad::cuda {
namespace {

// mask[image] s[channel] of a thread's channels; null: 1.
template <int N, class C>
__device__ __forceinline__ void scales(const ChannelPlace<N>& place, const C* s, const C* mask,
                                       C (&to)[N]) {
  const C kept = mask != nullptr ? mask[place.image] : C(1);
#pragma unroll
  for (int i = 0; i < N; ++i)
    to[i] = s != nullptr && place.inside ? s[place.channel + i] * kept : kept;
}

// y = base + mask[image] s[channel] (branch + bias[channel]), of one image in the plan whose rows
// are those of all images, `image_rows` each. `measured`: and the partials of y's statistics, for
// batch norm, of y as it is stored (channel_statistics.h).
template <bool measured, class T, int N>
__global__ void add_branch(const T* __restrict__ base, const T* __restrict__ branch, ChannelPlan p,
                           unsigned image_rows, const Compute<T>* s, const Compute<T>* bias,
                           const Compute<T>* mask, T* __restrict__ y, Compute<T>* partials) {
  using C = Compute<T>;
  const ChannelPlace<N> place(p);
  C scale[N], offset[N], v[N] = {};
#pragma unroll
  for (int i = 0; i < N; ++i) {
    scale[i] = s != nullptr && place.inside ? s[place.channel + i] : C(1);
    offset[i] = bias != nullptr && place.inside ? bias[place.channel + i] : -C(0);
  }
  const auto sum_at = [&](std::int64_t at, C kept) {
    C x[N];
    load<N>(base + at, v);
    load<N>(branch + at, x);
#pragma unroll
    for (int i = 0; i < N; ++i)
      v[i] = widen(narrow<T>(v[i] + scale[i] * kept * (x[i] + offset[i])));
  };
  // The thread's row, counted from the first one of the image where the block begins.
  const std::int64_t first_image = mask != nullptr ? place.first / image_rows : 0;
  const C* kept = mask != nullptr ? mask + first_image : nullptr;
  auto row = static_cast<unsigned>(place.first - first_image * image_rows) + threadIdx.y;
  if constexpr (measured) {
    if (place.inside) sum_at(place.at(p, place.first), kept != nullptr ? *kept : C(1));
  }
  Moments<C, N> moments(v);
  place.for_rows(p, [&](std::int64_t at) {
    sum_at(at, kept != nullptr ? kept[row / image_rows] : C(1));
    row += blockDim.y;
    store<N>(y + at, v);
    if constexpr (measured) moments.add(v);
  });
  if constexpr (measured) moments.leave(p, place, shared_memory<C>(), partials);
}

// dbranch = scale dy.
template <class T, int N>
__global__ void branch_gradient(const T* dy, ChannelPlan p, const Compute<T>* s,
                                const Compute<T>* mask, T* dbranch) {
  const ChannelPlace<N> place(p);
  Compute<T> scale[N];
  scales(place, s, mask, scale);
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> d[N];
    load<N>(dy + at, d);
#pragma unroll
    for (int i = 0; i < N; ++i) d[i] *= scale[i];
    store<N>(dbranch + at, d);
  });
}

// And partials [images * chunks, c]: mask times the sums of dy branch.
template <class T, int N>
__global__ void branch_and_scale_gradient(const T* branch, const T* dy, ChannelPlan p,
                                          const Compute<T>* s, const Compute<T>* mask, T* dbranch,
                                          Compute<T>* partials) {
  const ChannelPlace<N> place(p);
  Compute<T> scale[N], sum[N] = {};
  scales(place, s, mask, scale);
  place.for_rows(p, [&](std::int64_t at) {
    Compute<T> b[N], d[N];
    load<N>(branch + at, b);
    load<N>(dy + at, d);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sum[i] += d[i] * b[i];
      d[i] *= scale[i];
    }
    store<N>(dbranch + at, d);
  });
  combine_rows(sum, shared_memory<Compute<T>>());
  if (threadIdx.y != 0 || !place.inside) return;
  const Compute<T> kept = mask != nullptr ? mask[place.image] : Compute<T>(1);
#pragma unroll
  for (int i = 0; i < N; ++i) partials[blockIdx.x * p.c + place.channel + i] = kept * sum[i];
}

template <class T, int N>
__global__ void gate_gradients(const T* a, const T* u, const T* dy, std::int64_t packs, T* da,
                               T* du) {
  for (std::int64_t i = global_index(); i < packs; i += global_threads()) {
    Compute<T> of_a[N], of_u[N], d[N];
    load<N>(a + i * N, of_a);
    load<N>(u + i * N, of_u);
    load<N>(dy + i * N, d);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      of_u[k] *= d[k];
      of_a[k] *= d[k];
    }
    store<N>(da + i * N, of_u);
    store<N>(du + i * N, of_a);
  }
}

constexpr int kMapRows = 16;  // rows of a thread that only maps
constexpr int kSumRows = 32;  // rows that a thread sums up in T

struct Extents {
  std::int64_t images, rows, c;
};
Extents extents(const Tensor& x, const Tensor& mask) {
  const std::int64_t c = x.dim(-1), images = mask.defined() ? mask.numel() : 1;
  return {images, images * c == 0 ? 0 : x.numel() / (images * c), c};
}

template <class T>
void residual_gradients(const Tensor& branch, const Tensor& s, const Tensor& mask, const Tensor& dy,
                        Backend::ResidualGradients& g, cudaStream_t stream) {
  using C = Compute<T>;
  const Extents e = extents(dy, mask);
  const T *d = dy.data<T>(), *b = g.ds.defined() ? branch.data<T>() : nullptr;
  T* to = g.dbranch.data<T>();
  with_pack<T>(packs_fit<T>(e.c, d, b, to), [&](auto width) {
    constexpr int N = decltype(width)::value;
    if (!g.ds.defined()) {
      const ChannelGrid grid = channel_grid(e.images, e.rows, e.c, N, kMapRows);
      launch("branch_gradient", branch_gradient<T, N>, grid.grid, stream, d, grid.plan,
             data_or_null<C>(s), data_or_null<C>(mask), to);
      return;
    }
    const ChannelGrid grid = channel_grid(e.images, e.rows, e.c, N, kSumRows, N * sizeof(C));
    const Tensor partials = Tensor::empty({grid.blocks(), e.c}, g.ds.dtype(), dy.device());
    launch("branch_and_scale_gradient", branch_and_scale_gradient<T, N>, grid.grid, stream, b, d,
           grid.plan, data_or_null<C>(s), data_or_null<C>(mask), to, partials.data<C>());
    launch("sum_partials", sum_partials<1, C>, totals_grid<1>(e.c), stream, partials.data<C>(),
           grid.blocks(), e.c, g.ds.data<C>(), static_cast<C*>(nullptr));
  });
}

}  // namespace

Tensor CudaBackend::residual(const Tensor& x, const Tensor& branch, const Tensor& s,
                             const Tensor& mask) {
  Scope scope(*this, "residual", 2.0 * static_cast<double>(x.numel()),
              3.0 * static_cast<double>(x.nbytes()));
  return residual_sum(x, branch, s, {}, mask);
}

Tensor CudaBackend::residual_sum(const Tensor& base, const Tensor& branch, const Tensor& s,
                                 const Tensor& bias, const Tensor& mask) {
  const bool expected = std::exchange(batch_norm_expected_, false);
  Tensor y = empty_like(base), partials;
  if (y.numel() == 0) return y;
  const std::int64_t c = base.dim(-1), rows = base.numel() / c;
  const std::int64_t image_rows = mask.defined() ? rows / mask.numel() : 1;
  check(image_rows < std::int64_t{1} << 31, "residual: images of {} pixels are too large",
        image_rows);
  dispatch_activation(base.dtype(), "residual", [&](auto zero) {
    using T = decltype(zero);
    using C = Compute<T>;
    const T *from = base.data<T>(), *from_branch = branch.data<T>();
    T* to = y.data<T>();
    const bool wide = packs_fit<T>(c, from, from_branch, to);
    // By other packs than those of batch_norm() the partials would be those of other blocks.
    const bool measured = expected && wide == packs_fit<T>(c, to);
    with_pack<T>(wide, [&](auto width) {
      constexpr int N = decltype(width)::value;
      const ChannelGrid g =
          measured ? moments_grid<T>(1, rows, c, N) : channel_grid(1, rows, c, N, kMapRows);
      if (measured) partials = empty({g.blocks(), 2, c}, parameter_dtype(y.dtype()));
      launch("add_branch", measured ? add_branch<true, T, N> : add_branch<false, T, N>, g.grid,
             stream_, from, from_branch, g.plan, static_cast<unsigned>(image_rows),
             data_or_null<C>(s), data_or_null<C>(bias), data_or_null<C>(mask), to,
             data_or_null<C>(partials));
    });
  });
  if (partials.defined()) statistics_.leave(y, std::move(partials));
  return y;
}

Backend::ResidualGradients CudaBackend::residual_backward(const Tensor& branch, const Tensor& s,
                                                          const Tensor& mask, const Tensor& dy,
                                                          bool needs_ds) {
  Scope scope(*this, "residual_backward", 3.0 * static_cast<double>(dy.numel()),
              3.0 * static_cast<double>(dy.nbytes()));
  ResidualGradients g;
  g.dbranch = empty_like(dy);
  if (needs_ds && s.defined()) g.ds = empty_like(s);
  if (dy.numel() == 0) {
    if (g.ds.defined()) g.ds.fill_(0);
    return g;
  }
  dispatch_activation(dy.dtype(), "residual_backward", [&](auto zero) {
    residual_gradients<decltype(zero)>(branch, s, mask, dy, g, stream_);
  });
  return g;
}

std::pair<Tensor, Tensor> CudaBackend::gate_backward(const Tensor& a, const Tensor& u,
                                                     const Tensor& dy) {
  Scope scope(*this, "gate_backward", 2.0 * static_cast<double>(dy.numel()),
              5.0 * static_cast<double>(dy.nbytes()));
  Tensor da = empty_like(dy), du = empty_like(dy);
  if (dy.numel() == 0) return {da, du};
  dispatch_activation(dy.dtype(), "gate_backward", [&](auto zero) {
    using T = decltype(zero);
    const T *pa = a.data<T>(), *pu = u.data<T>(), *pd = dy.data<T>();
    T *pda = da.data<T>(), *pdu = du.data<T>();
    with_pack<T>(packs_fit<T>(dy.numel(), pa, pu, pd, pda, pdu), [&](auto width) {
      constexpr int N = decltype(width)::value;
      const std::int64_t packs = dy.numel() / N;
      launch("gate_gradients", gate_gradients<T, N>, grid_for(packs), stream_, pa, pu, pd, packs,
             pda, pdu);
    });
  });
  return {da, du};
}

}  // namespace nextgrad::cuda

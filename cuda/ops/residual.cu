// Residual connections with layer scale and drop path, and the gate's backward: x is [images, rows,
// c] as in channels.h; a thread keeps what belongs to its channels. The sums for ds are those of
// blocks, then of their partials in double. Bound: memory, everything is touched once.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/channel_statistics.h"
#include "cuda/kit/sums.h"
#include "tensor/costs.h"

namespace nextgrad::cuda {
namespace {

// y = base_scale[channel] base + mask[image] s[channel] (branch + extra + bias[channel]), of one
// image in the plan whose rows are those of all images, `image_rows` each. `measured`: and the
// partials of y's statistics, for batch norm, of y as it is stored (channel_statistics.h).
template <bool measured, class T, int N>
__global__ void add_branch(const T* __restrict__ base, const Compute<T>* base_scale,
                           const T* __restrict__ branch, const T* __restrict__ extra, ChannelPlan p,
                           unsigned image_rows, const Compute<T>* s, const Compute<T>* bias,
                           const Compute<T>* mask, T* __restrict__ y, Compute<T>* partials) {
  using C = Compute<T>;
  const ChannelPlace<N> place(p);
  C from[N], scale[N], offset[N], v[N] = {};
  unroll<N>([&](int i) {
    from[i] = base_scale != nullptr && place.inside ? base_scale[place.channel + i] : C(1);
    scale[i] = s != nullptr && place.inside ? s[place.channel + i] : C(1);
    offset[i] = bias != nullptr && place.inside ? bias[place.channel + i] : -C(0);
  });
  const auto sum_at = [&](std::int64_t at, C kept) {
    C x[N], more[N] = {};
    load<N>(base + at, v);
    load<N>(branch + at, x);
    if (extra != nullptr) load<N>(extra + at, more);
    unroll<N>([&](int i) {
      v[i] = widen(narrow<T>(from[i] * v[i] + scale[i] * kept * (x[i] + more[i] + offset[i])));
    });
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
  if constexpr (measured) moments.leave(p, place, partials);
}

// dbranch = mask[image] s[channel] dy, and masked = mask[image] dy if that is not null; `summed`:
// and ds, mask times the sums of dy branch, by way of partials [images * chunks, c].
template <bool summed, class T, int N>
__global__ void branch_gradient(const T* branch, const T* dy, ChannelPlan p, const Compute<T>* s,
                                const Compute<T>* mask, T* dbranch, T* masked, Compute<T>* partials,
                                unsigned* arrivals, Compute<T>* ds) {
  using C = Compute<T>;
  const ChannelPlace<N> place(p);
  const C kept = mask != nullptr ? mask[place.image] : C(1);
  C scale[N], sum[N] = {};
  unroll<N>([&](int i) { scale[i] = s != nullptr && place.inside ? s[place.channel + i] : C(1); });
  place.for_rows(p, [&](std::int64_t at) {
    C b[N] = {}, d[N];
    load<N>(dy + at, d);
    if constexpr (summed) load<N>(branch + at, b);
    unroll<N>([&](int i) {
      d[i] *= kept;
      sum[i] += d[i] * b[i];
    });
    if (masked != nullptr) store<N>(masked + at, d);
    unroll<N>([&](int i) { d[i] *= scale[i]; });
    store<N>(dbranch + at, d);
  });
  if constexpr (summed) {
    leave_sums(p, place, sum, partials);
    finish_by_last<1>(p, place, partials, arrivals,
                      [&](std::int64_t channel, const double(&total)[1]) {
                        ds[channel] = static_cast<C>(total[0]);
                      });
  }
}

template <class T, int N>
__global__ void gate_gradients(const T* a, const T* u, const T* dy, std::int64_t packs, T* da,
                               T* du) {
  for (std::int64_t i = global_index(); i < packs; i += global_threads()) {
    Compute<T> of_a[N], of_u[N], d[N];
    load<N>(a + i * N, of_a);
    load<N>(u + i * N, of_u);
    load<N>(dy + i * N, d);
    unroll<N>([&](int k) {
      of_u[k] *= d[k];
      of_a[k] *= d[k];
    });
    store<N>(da + i * N, of_u);
    store<N>(du + i * N, of_a);
  }
}

}  // namespace

Tensor CudaBackend::residual(const Tensor& x, const Tensor& branch, const Tensor& s,
                             const Tensor& mask, Tensor* moments) {
  Scope scope(*this, costs::residual(x));
  return residual_sum(x, {}, branch, {}, s, {}, mask, moments);
}

Tensor CudaBackend::residual_sum(const Tensor& base, const Tensor& base_scale, const Tensor& branch,
                                 const Tensor& extra, const Tensor& s, const Tensor& bias,
                                 const Tensor& mask, Tensor* moments) {
  Tensor y = empty_like(base), partials;
  if (y.numel() == 0) return y;
  const ImageRows e = image_rows(base, 1);
  const std::int64_t pixels = mask.defined() ? e.rows / mask.numel() : 1;  // of an image
  check(pixels < std::int64_t{1} << 31, "residual: images of {} pixels are too large", pixels);
  dispatch_packs("residual", e.c, {base, branch, extra, y}, [&]<class T, int N>() {
    // By other packs than those of batch_norm() the partials would be those of other blocks.
    const bool measured = moments != nullptr && (N > 1 || e.c % kPack<T> != 0 || !aligned({y}));
    const ChannelGrid g = measured ? sums_grid<T>(e, N, 2) : map_grid(e, N);
    if (measured) partials = empty({g.blocks(), 2, e.c}, parameter_dtype(y.dtype()));
    launch("add_branch", measured ? add_branch<true, T, N> : add_branch<false, T, N>, g.grid,
           stream_, base, base_scale, branch, extra, g.plan, pixels, s, bias, mask, y, partials);
  });
  if (moments != nullptr) *moments = partials;
  return y;
}

ResidualGradients CudaBackend::residual_backward(const Tensor& branch, const Tensor& s,
                                                 const Tensor& mask, const Tensor& dy,
                                                 bool needs_ds) {
  Scope scope(*this, costs::residual_backward(dy));
  return branch_gradients(branch, s, mask, dy, needs_ds, nullptr);
}

ResidualGradients CudaBackend::branch_gradients(const Tensor& branch, const Tensor& s,
                                                const Tensor& mask, const Tensor& dy, bool needs_ds,
                                                Tensor* masked) {
  ResidualGradients g;
  g.dbranch = empty_like(dy);
  if (needs_ds && s.defined()) g.ds = empty_like(s);
  if (dy.numel() == 0) {
    if (g.ds.defined()) g.ds.fill_(0);
    return g;
  }
  const ImageRows e = image_rows(dy, mask.defined() ? mask.numel() : 1);
  const Tensor read = g.ds.defined() ? branch : Tensor();
  const Tensor out = masked != nullptr ? *masked : Tensor();
  dispatch_packs("residual_backward", e.c, {dy, read, g.dbranch, out}, [&]<class T, int N>() {
    const bool summed = read.defined();
    const ChannelGrid grid = summed ? finished_grid<T>(e, N, 1) : map_grid(e, N);
    const Tensor partials = summed ? empty({grid.blocks(), e.c}, g.ds.dtype()) : Tensor();
    launch("branch_gradient", summed ? branch_gradient<true, T, N> : branch_gradient<false, T, N>,
           grid.grid, stream_, read, dy, grid.plan, s, mask, g.dbranch, out, partials, arrivals_,
           g.ds);
  });
  return g;
}

std::pair<Tensor, Tensor> CudaBackend::gate_backward(const Tensor& a, const Tensor& u,
                                                     const Tensor& dy) {
  Scope scope(*this, costs::gate_backward(dy));
  Tensor da = empty_like(dy), du = empty_like(dy);
  if (dy.numel() == 0) return {da, du};
  dispatch_packs("gate_backward", dy.numel(), {dy, a, u, da, du}, [&]<class T, int N>() {
    const std::int64_t packs = dy.numel() / N;
    launch("gate_gradients", gate_gradients<T, N>, grid_for(packs), stream_, a, u, dy, packs, da,
           du);
  });
  return {da, du};
}

}  // namespace nextgrad::cuda

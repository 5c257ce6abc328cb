// Cross entropy of bilinearly upsampled logits, by cells: what lies between four neighbouring
// source positions. A thread owns the output pixels of one column of a cell, so that along a class
// they cost two blends and one exponential each, and no lane waits for another.
#include "cuda/kit/taps.h"
#include "cuda/ops/loss.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

constexpr int kForwardThreads = 128;

// One output column of a cell: its corners' logits.
template <class T, int N>
struct Column {
  using C = Compute<T>;
  const T *a0, *a1, *b0, *b1;
  C t;
  // N classes from c on at the upper and the lower end.
  __device__ __forceinline__ void ends(int c, C (&upper)[N], C (&lower)[N]) const {
    C right[N], below[N];
    load<N>(a0 + c, upper);
    load<N>(a1 + c, right);
    load<N>(b0 + c, lower);
    load<N>(b1 + c, below);
    unroll<N>([&](int i) {
      upper[i] = blend(upper[i], right[i], t);
      lower[i] = blend(lower[i], below[i], t);
    });
  }
  __device__ __forceinline__ C at(int c, C ty) const {
    return blend(blend(widen(a0[c]), widen(a1[c]), t), blend(widen(b0[c]), widen(b1[c]), t), ty);
  }
};

template <class T, int N>
__device__ __forceinline__ Column<T, N> column_of(const T* logits, const UpsampleShape& s,
                                                  std::int64_t row, std::int64_t column) {
  const auto tx = tap_at<Compute<T>>(s.columns, column);
  const T* above = logits + row * s.w * s.k;
  const T* below = row % s.h + 1 < s.h ? above + s.w * s.k : above;
  return {above + tx.first * s.k, above + tx.second * s.k, below + tx.first * s.k,
          below + tx.second * s.k, tx.t};
}

// log_sum[r] of the pixels at ty[r], and smoothed[r], the losses of label smoothing's share.
template <int R, class T, int N>
__device__ __forceinline__ void sum_classes(const Column<T, N>& column,
                                            const Target<Compute<T>>& target,
                                            const Compute<T> (&ty)[R], Compute<T> (&log_sum)[R],
                                            Compute<T> (&smoothed)[R]) {
  using C = Compute<T>;
  C top[R], sum[R] = {}, weighted[R] = {}, shares = 0, upper[N], lower[N];
  for (int c = 0; c < target.k; c += N) {
    column.ends(c, upper, lower);
    unroll<N, R>([&](int i, int r) {
      const C v = blend(upper[i], lower[i], ty[r]);
      top[r] = (c == 0 && i == 0) || v > top[r] ? v : top[r];
    });
  }
  for (int c = 0; c < target.k; c += N) {
    column.ends(c, upper, lower);
    unroll<N>([&](int i) {
      const C share = target.smooth != 0 ? target.smooth_of(c + i) : C(0);
      shares += share;
      unroll<R>([&](int r) {
        const C v = blend(upper[i], lower[i], ty[r]);
        sum[r] += exp_below(v, top[r]);
        weighted[r] += share * v;
      });
    });
  }
  unroll<R>([&](int r) {
    log_sum[r] = top[r] + std::log(sum[r]);
    smoothed[r] = shares * log_sum[r] - weighted[r];
  });
}

// log_sum per pixel; partial[block] = the block's sum of losses and of the labels' weights.
template <class T, int N, int R>
__global__ void upsampled_loss(const T* logits, Target<Compute<T>> target, UpsampleShape s,
                               int parts, Compute<T>* log_sum, double* partial) {
  using C = Compute<T>;
  const std::int64_t row = blockIdx.x / static_cast<unsigned>(parts), image = row / s.h;
  const int column =
      static_cast<int>(blockIdx.x % static_cast<unsigned>(parts) * blockDim.x + threadIdx.x);
  const std::int64_t end = start_of(s.rows, row % s.h + 1);
  double loss = 0, counted = 0;
  std::int64_t o = start_of(s.rows, row % s.h);
  if (column < s.ow && o < end) {
    const auto at = column_of<T, N>(logits, s, row, column);
    for (; o < end; o += R) {
      C ty[R], lse[R], smoothed[R];
      unroll<R>([&](int r) { ty[r] = o + r < end ? tap_at<C>(s.rows, o + r).t : C(0); });
      sum_classes(at, target, ty, lse, smoothed);
      unroll<R>([&](int r) {
        if (o + r >= end) return;
        const std::int64_t pixel = (image * s.oh + o + r) * s.ow + column;
        const int label = target.label(pixel, true);
        log_sum[pixel] = label >= 0 ? lse[r] : C(0);
        if (label < 0) return;
        counted += target.weight(label);
        loss +=
            target.weight(label) * target.hot * static_cast<double>(lse[r] - at.at(label, ty[r]));
        if (target.smooth != 0) loss += static_cast<double>(smoothed[r]);
      });
    }
  }
  leave_losses(loss, counted, partial);
}

}  // namespace

CrossEntropyResult CudaBackend::upsample_cross_entropy(const Tensor& logits,
                                                       const CrossEntropyTarget& t) {
  const UpsampleShape s = upsample_shape(logits, t.labels.dim(1), t.labels.dim(2));
  const DType dtype = parameter_dtype(logits.dtype());
  Scope scope(*this, costs::upsample_cross_entropy(logits, t.labels));
  const CrossEntropyResult r{empty({}, dtype), empty(t.labels.shape(), dtype),
                             empty({}, DType::f64)};
  const std::int64_t parts = parts_of(s.ow, kForwardThreads);
  const std::int64_t blocks = t.labels.numel() == 0 ? 0 : s.n * s.h * parts;
  const Tensor partial = empty({blocks, 2}, DType::f64);
  dispatch_activation(logits.dtype(), "upsample_cross_entropy", [&]<class T>() {
    if (blocks == 0) return;
    const bool paired = s.k % 2 == 0 && aligned({logits}, 2 * sizeof(T)), tall = s.oh > 2 * s.h;
    launch("upsample_cross_entropy",
           paired ? tall ? upsampled_loss<T, 2, 8> : upsampled_loss<T, 2, 2>
           : tall ? upsampled_loss<T, 1, 8>
                  : upsampled_loss<T, 1, 2>,
           {dim3(blocks), dim3(kForwardThreads)}, stream_, logits,
           Target<Compute<T>>(logits, t, fault_), s, parts, r.log_sum, partial);
  });
  finish_cross_entropy(partial, t, r);
  return r;
}

}  // namespace nextgrad::cuda

// Convolution as products on patches ("im2col"): a chunk of patches is made, as rows of whole 16
// bytes, and multiplied at once. Backward: dy W gives the patches' gradients, from which a thread
// per pack of dx gathers; dy^T patches is summed piece by piece, so that its order is fixed.
#include "cuda/device/cuda_backend.h"
#include "cuda/device/gemm.h"
#include "cuda/device/operands.h"
#include "cuda/kit/patches.h"
#include "cuda/kit/sums.h"
#include "tensor/costs.h"

namespace nextgrad::cuda {
namespace {

#ifdef NEXTGRAD_EMULATE_CUDA
constexpr std::int64_t kPatchBytes = std::int64_t{1} << 17;
constexpr std::int64_t kPieceRows = 256;
#else
constexpr std::int64_t kPatchBytes = std::int64_t{1} << 28;  // of a chunk
constexpr std::int64_t kPieceRows = 4096;                    // rows of a weight gradient's partial sum
#endif
constexpr std::int64_t kPartialBytes = std::int64_t{1} << 26;  // of all partial sums

// Rows of patches in a chunk.
template <class T>
std::int64_t chunk_of(const PatchShape& s) {
  const auto bytes = static_cast<std::int64_t>(sizeof(T)) * s.size;
  return std::clamp<std::int64_t>(kPatchBytes / bytes, 1, s.pixels());
}

// Makes the patches of x, chunk by chunk and group by group: calls fn(group, first, count, patches)
// for pixels [first, first + count).
template <class T, class Fn>
void for_patches(const PatchShape& s, const Tensor& x, cudaStream_t stream, Fn&& fn) {
  const std::int64_t chunk = chunk_of<T>(s);
  const int packs = s.size / kPack<T>;
  const bool whole = s.depth % kPack<T> == 0 && s.in % kPack<T> == 0 && aligned({x});
  const Tensor buffer = Tensor::empty({chunk * s.size}, x.dtype(), x.device());
  for (std::int64_t first = 0; first < s.pixels(); first += chunk) {
    const std::int64_t count = std::min(chunk, s.pixels() - first);
    for (int g = 0; g < s.groups; ++g) {
      launch("make_patches", whole ? make_patches<T, true> : make_patches<T, false>,
             grid_for(count * packs), stream, x, buffer, PatchWork(s, g, packs, s.oh, s.ow), first,
             count);
      fn(g, first, count, buffer.data<T>());
    }
  }
}

template <class T>
void forward(const PatchShape& s, const Tensor& x, const Tensor& w, const Tensor& added, Tensor& y,
             Gemm& gemm, cudaStream_t stream) {
  const std::int64_t n = s.group_out();
  for_patches<T>(s, x, stream,
                 [&](int g, std::int64_t first, std::int64_t count, const T* patches) {
                   gemm.run({.m = count,
                             .n = n,
                             .k = s.size,
                             .a = patches,
                             .b = w.data<T>() + g * n * s.size,
                             .c = y.data<T>() + first * s.out + g * n,
                             .transpose_b = true,
                             .in = dtype_of<T>,
                             .out = dtype_of<T>,
                             .ldc = s.out,
                             .bias = added.defined() ? added.data<T>() + g * n : nullptr});
                 });
}

// dx [N,H,W,in] of one group from whole images at a time.
template <class T>
void input_gradient(const PatchShape& s, int group, const Tensor& dy, const Tensor& w, Tensor& dx,
                    Gemm& gemm, cudaStream_t stream) {
  const std::int64_t n = s.group_out(), patches = s.oh * s.ow;
  const std::int64_t images = std::clamp<std::int64_t>(chunk_of<T>(s) / patches, 1, s.n);
  const Tensor buffer = Tensor::empty({images * patches * s.size}, dx.dtype(), dx.device());
  const bool wide = s.depth % kPack<T> == 0 && s.in % kPack<T> == 0 && aligned({dx});
  for (std::int64_t first = 0; first < s.n; first += images) {
    const std::int64_t count = std::min(images, s.n - first);
    gemm.run({.m = count * patches,
              .n = s.size,
              .k = n,
              .a = dy.data<T>() + first * patches * s.out + group * n,
              .b = w.data<T>() + group * n * s.size,
              .c = buffer.data<T>(),
              .in = dtype_of<T>,
              .out = dtype_of<T>,
              .lda = s.out});
    const std::int64_t pixels = count * s.h * s.w, packs = s.depth / (wide ? kPack<T> : 1);
    check(pixels * packs < std::int64_t{1} << 31, "conv2d: images of {} x {} are too large", s.h,
          s.w);
    launch("gather_patches", wide ? gather_patches<T, kPack<T>> : gather_patches<T, 1>,
           grid_for(pixels * packs), stream, buffer, dx, PatchWork(s, group, packs, s.h, s.w),
           first * s.h * s.w, pixels);
  }
}

// dweight [of a group] (+)= dy^T patches over one chunk: pieces of rows, each a product, then their
// sum.
template <class T>
void add_weight_gradient(const PatchShape& s, const T* patches, const T* dy, std::int64_t rows,
                         const Tensor& dweight, bool accumulate, Gemm& gemm, cudaStream_t stream) {
  using C = Compute<T>;
  const std::int64_t n = s.group_out(), each = n * s.size;
  const std::int64_t most = std::clamp<std::int64_t>(
      kPartialBytes / (each * static_cast<std::int64_t>(sizeof(C))), 1, 256);
  const std::int64_t piece = std::max(kPieceRows, parts_of(parts_of(rows, most), 64) * 64);
  const std::int64_t whole = rows / piece, pieces = parts_of(rows, piece);
  const Tensor partial = Tensor::empty({pieces, each}, dtype_of<C>, dweight.device());
  Product p{.m = n,
            .n = s.size,
            .k = piece,
            .a = dy,
            .b = patches,
            .c = partial.data<C>(),
            .transpose_a = true,
            .in = dtype_of<T>,
            .out = dtype_of<C>,
            .lda = s.out,
            .batch = whole,
            .stride_a = piece * s.out,
            .stride_b = piece * s.size,
            .stride_c = each};
  if (whole > 0) gemm.run(p);
  if (whole < pieces) {
    p.batch = 1;
    p.k = rows - whole * piece;
    p.a = dy + whole * p.stride_a;
    p.b = patches + whole * p.stride_b;
    p.c = partial.data<C>() + whole * each;
    gemm.run(p);
  }
  add_partials(stream, partial, {{0, dweight, static_cast<int>(s.patch()), s.size, accumulate}});
}

template <class T>
void weight_gradient(const PatchShape& s, const Tensor& x, const Tensor& dy, Tensor& dweight,
                     Gemm& gemm, cudaStream_t stream) {
  const std::int64_t n = s.group_out();
  for_patches<T>(
      s, x, stream, [&](int g, std::int64_t first, std::int64_t count, const T* patches) {
        add_weight_gradient<T>(s, patches, dy.data<T>() + first * s.out + g * n, count,
                               dweight.slice(0, g * n, (g + 1) * n), first > 0, gemm, stream);
      });
}

}  // namespace

Tensor CudaBackend::conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const Window& window, int groups) {
  Tensor y =
      empty({x.dim(0), window.out_h(x.dim(1)), window.out_w(x.dim(2)), weight.dim(0)}, x.dtype());
  dispatch_activation(x.dtype(), "conv2d", [&]<class T>() {
    const PatchShape s(x.shape(), weight.shape(), window, groups, kPack<T>);
    Scope scope(*this, costs::conv2d(x, weight, y));
    if (y.numel() > 0 && x.numel() > 0)
      forward<T>(s, x, operands_->of(weight, x.dtype(), s.patch(), s.size),
                 bias.defined() ? operands_->of(bias, x.dtype()) : bias, y, *gemm_, stream_);
  });
  if (x.numel() > 0) return y;
  fill(y, 0);  // of no channels
  if (bias.defined()) y.copy_(bias);
  return y;
}

ConvGradients CudaBackend::conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                           const Window& window, int groups, Needs needs) {
  ConvGradients g = empty_conv_gradients(x, weight, dy, needs);
  dispatch_activation(x.dtype(), "conv2d", [&]<class T>() {
    const PatchShape s(x.shape(), weight.shape(), window, groups, kPack<T>);
    Scope scope(*this, costs::conv2d_backward(x, weight, dy, needs));
    if (dy.numel() == 0) return;
    if (needs.dx && x.numel() > 0) {
      const Tensor w = operands_->of(weight, x.dtype(), s.patch(), s.size);
      for (int group = 0; group < groups; ++group)
        input_gradient<T>(s, group, dy, w, g.dx, *gemm_, stream_);
    }
    if (needs.dweight && x.numel() > 0) weight_gradient<T>(s, x, dy, g.dweight, *gemm_, stream_);
    if (needs.dbias) g.dbias = column_sums(stream_, arrivals_, dy.reshape({s.pixels(), s.out}));
  });
  return g;
}

}  // namespace nextgrad::cuda

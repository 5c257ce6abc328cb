// Convolution as products on patches ("im2col"): a chunk of patches is made, as rows of whole 16
// bytes, and multiplied at once. Backward: dy W gives the patches' gradients, from which a thread
// per pack of dx gathers; dy^T patches is summed piece by piece, so that its order is fixed.
#include "cuda/device/cuda_backend.h"
#include "cuda/kit/patches.h"
#include "cuda/ops/column_sums.h"

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

// to [rows][size] = from [rows][patch], zeros behind.
template <class T>
__global__ void pad_rows(const Compute<T>* from, T* to, int patch, int size, std::int64_t n) {
  for (std::int64_t i = global_index(); i < n; i += global_threads()) {
    const std::int64_t row = i / size;
    const int column = static_cast<int>(i - row * size);
    to[i] = narrow<T>(column < patch ? from[row * patch + column] : Compute<T>(0));
  }
}

// Bias in every row of y.
template <class T>
__global__ void fill_rows(const T* bias, T* y, std::int64_t columns, std::int64_t n) {
  for (std::int64_t i = global_index(); i < n; i += global_threads()) y[i] = bias[i % columns];
}

constexpr int kSumColumns = 32, kSumRows = 8;  // of a block

// to [][patch] (+)= the sum of `rows` partial matrices of `columns` numbers, of each `size` of
// which only the first `patch` are wanted.
template <class C>
__global__ void add_pieces(const C* x, C* to, std::int64_t rows, std::int64_t columns, int patch,
                           int size, bool accumulate) {
  __shared__ C sums[kSumRows][kSumColumns];
  const int lane = static_cast<int>(threadIdx.x), line = static_cast<int>(threadIdx.y);
  const std::int64_t column = std::int64_t{blockIdx.x} * kSumColumns + lane;
  C sum = 0;
  if (column < columns) {
#pragma unroll 8
    for (std::int64_t r = line; r < rows; r += kSumRows) sum += x[r * columns + column];
  }
  sums[line][lane] = sum;
  __syncthreads();
  const std::int64_t row = column / size;
  const int inside = static_cast<int>(column - row * size);
  if (line != 0 || column >= columns || inside >= patch) return;
  for (int i = 1; i < kSumRows; ++i) sum += sums[i][lane];
  C& result = to[row * patch + inside];
  result = accumulate ? result + sum : sum;
}

// Patches of pixels [first, first + count) of one group, or the pixels themselves.
template <class T>
const T* patches_of(const ConvShape& s, int group, const Tensor& x, const Tensor& buffer,
                    std::int64_t first, std::int64_t count, cudaStream_t stream) {
  if (s.direct) return x.data<T>() + first * s.in + group * s.depth;
  const int packs = s.size / kPack<T>;
  const bool whole = s.depth % kPack<T> == 0 && pack_of<T>(s.in, x) > 1;
  launch("make_patches", whole ? make_patches<T, true> : make_patches<T, false>,
         grid_for(count * packs), stream, x.data<T>(), buffer.data<T>(),
         patch_work(s, group, packs, s.oh, s.ow), static_cast<int>(first), static_cast<int>(count));
  return buffer.data<T>();
}

// Rows of patches in a chunk.
template <class T>
std::int64_t chunk_of(const ConvShape& s) {
  if (s.direct) return s.pixels();
  const auto bytes = static_cast<std::int64_t>(sizeof(T)) * s.size;
  return std::clamp<std::int64_t>(kPatchBytes / bytes, 1, s.pixels());
}

// The weight as products take it, [out][size] of T.
template <class T>
Tensor packed_weight(const ConvShape& s, const Tensor& weight, cudaStream_t stream) {
  if (weight.dtype() == dtype_of<T> && s.size == s.patch()) return weight;
  Tensor packed = Tensor::empty({s.out, s.size}, dtype_of<T>, weight.device());
  launch("pad_rows", pad_rows<T>, grid_for(packed.numel()), stream, weight.data<Compute<T>>(),
         packed.data<T>(), static_cast<int>(s.patch()), s.size, packed.numel());
  return packed;
}

Tensor in_dtype(const Tensor& t, DType dtype) {
  return t.dtype() == dtype ? t : t.to(dtype);
}

template <class T>
Tensor patch_buffer(const ConvShape& s, std::int64_t rows, const Tensor& like) {
  return Tensor::empty({s.direct ? 0 : rows * s.size}, dtype_of<T>, like.device());
}

template <class T>
void forward(const ConvShape& s, const Tensor& x, const Tensor& weight, const Tensor& bias,
             Tensor& y, Gemm& gemm, cudaStream_t stream) {
  constexpr bool kTwice = std::is_same_v<T, double>;  // products in f64 add no bias
  const Tensor w = packed_weight<T>(s, weight, stream);
  const Tensor added = bias.defined() && !kTwice ? in_dtype(bias, dtype_of<T>) : Tensor();
  const std::int64_t chunk = chunk_of<T>(s), n = s.group_out();
  const Tensor buffer = patch_buffer<T>(s, chunk, x);
  const bool filled = kTwice && bias.defined();
  if constexpr (kTwice)
    if (filled)
      launch("fill_rows", fill_rows<T>, grid_for(y.numel()), stream, bias.data<T>(), y.data<T>(),
             s.out, y.numel());
  for (std::int64_t first = 0; first < s.pixels(); first += chunk) {
    const std::int64_t count = std::min(chunk, s.pixels() - first);
    for (int g = 0; g < s.groups; ++g) {
      Product p{count,
                n,
                s.size,
                patches_of<T>(s, g, x, buffer, first, count, stream),
                w.data<T>() + g * n * s.size,
                y.data<T>() + first * s.out + g * n};
      p.transpose_b = true;
      p.in = p.out = dtype_of<T>;
      p.lda = s.direct ? s.in : s.size;
      p.ldc = s.out;
      p.beta = filled ? 1 : 0;
      p.bias = added.defined() ? added.data<T>() + g * n : nullptr;
      gemm.run(p);
    }
  }
}

// dx [N,H,W,in] of one group from whole images at a time.
template <class T>
void input_gradient(const ConvShape& s, int group, const Tensor& dy, const Tensor& w, Tensor& dx,
                    Gemm& gemm, cudaStream_t stream) {
  const std::int64_t n = s.group_out(), patches = s.oh * s.ow;
  const std::int64_t images =
      s.direct ? s.n : std::clamp<std::int64_t>(chunk_of<T>(s) / patches, 1, s.n);
  const Tensor buffer = patch_buffer<T>(s, images * patches, dx);
  const int pack = s.depth % kPack<T> == 0 ? pack_of<T>(s.in, dx) : 1;
  for (std::int64_t first = 0; first < s.n; first += images) {
    const std::int64_t count = std::min(images, s.n - first);
    Product p{count * patches,
              s.size,
              n,
              dy.data<T>() + first * patches * s.out + group * n,
              w.data<T>() + group * n * s.size,
              s.direct ? dx.data<T>() + group * s.depth : buffer.data<T>()};
    p.in = p.out = dtype_of<T>;
    p.lda = s.out;
    p.ldc = s.direct ? s.in : s.size;
    gemm.run(p);
    if (s.direct) continue;
    const std::int64_t pixels = count * s.h * s.w, packs = s.depth / pack;
    check(pixels * packs < std::int64_t{1} << 31, "conv2d: images of {} x {} are too large", s.h,
          s.w);
    launch("gather_patches", pack == 1 ? gather_patches<T, 1> : gather_patches<T, kPack<T>>,
           grid_for(pixels * packs), stream, buffer.data<T>(), dx.data<T>(),
           patch_work(s, group, packs, s.h, s.w), static_cast<int>(first * s.h * s.w),
           static_cast<int>(pixels));
  }
}

// dweight (+)= dy^T patches over one chunk: pieces of rows, each a product, then their sum.
template <class T>
void add_weight_gradient(const ConvShape& s, int group, const T* patches, const T* dy,
                         std::int64_t rows, Tensor& dweight, bool accumulate, Gemm& gemm,
                         cudaStream_t stream) {
  using C = Compute<T>;
  const std::int64_t n = s.group_out(), ld = s.direct ? s.in : s.size, each = n * s.size;
  const std::int64_t most = std::clamp<std::int64_t>(
      kPartialBytes / (each * static_cast<std::int64_t>(sizeof(C))), 1, 256);
  const std::int64_t piece = std::max(kPieceRows, ((rows + most - 1) / most + 63) / 64 * 64);
  const std::int64_t whole = rows / piece, pieces = (rows + piece - 1) / piece;
  const Tensor partial = Tensor::empty({pieces * each}, dtype_of<C>, dweight.device());
  Product p{n, s.size, piece, dy, patches, partial.data<C>()};
  p.transpose_a = true;
  p.in = dtype_of<T>;
  p.out = dtype_of<C>;
  p.lda = s.out;
  p.ldb = ld;
  p.batch = whole;
  p.stride_a = piece * s.out;
  p.stride_b = piece * ld;
  p.stride_c = each;
  if (whole > 0) gemm.run(p);
  if (whole < pieces) {
    p.batch = 1;
    p.k = rows - whole * piece;
    p.a = dy + whole * p.stride_a;
    p.b = patches + whole * p.stride_b;
    p.c = partial.data<C>() + whole * each;
    gemm.run(p);
  }
  const auto blocks = static_cast<unsigned>((each + kSumColumns - 1) / kSumColumns);
  launch("add_pieces", add_pieces<C>, {dim3(blocks), dim3(kSumColumns, kSumRows)}, stream,
         partial.data<C>(), dweight.data<C>() + group * n * s.patch(), pieces, each,
         static_cast<int>(s.patch()), s.size, accumulate);
}

template <class T>
void weight_gradient(const ConvShape& s, const Tensor& x, const Tensor& dy, Tensor& dweight,
                     Gemm& gemm, cudaStream_t stream) {
  const std::int64_t chunk = chunk_of<T>(s);
  const Tensor buffer = patch_buffer<T>(s, chunk, x);
  for (std::int64_t first = 0; first < s.pixels(); first += chunk) {
    const std::int64_t count = std::min(chunk, s.pixels() - first);
    for (int g = 0; g < s.groups; ++g) {
      const T* patches = patches_of<T>(s, g, x, buffer, first, count, stream);
      add_weight_gradient<T>(s, g, patches, dy.data<T>() + first * s.out + g * s.group_out(), count,
                             dweight, first > 0, gemm, stream);
    }
  }
}

}  // namespace

Tensor CudaBackend::conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                           const Window& window, int groups) {
  Tensor y =
      empty({x.dim(0), window.out_h(x.dim(1)), window.out_w(x.dim(2)), weight.dim(0)}, x.dtype());
  dispatch_activation(x.dtype(), "conv2d", [&](auto zero) {
    using T = decltype(zero);
    const ConvShape s = shape_of(x.shape(), weight.shape(), window, groups, kPack<T>);
    Scope scope(*this, "conv2d", s.flops(),
                static_cast<double>(x.nbytes() + weight.nbytes() + y.nbytes()));
    if (y.numel() > 0 && x.numel() > 0) forward<T>(s, x, weight, bias, y, *gemm_, stream_);
  });
  if (x.numel() > 0) return y;
  fill(y, 0);  // of no channels
  if (bias.defined()) y.copy_(bias);
  return y;
}

ConvGradients CudaBackend::conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                           const Window& window, int groups, Needs needs) {
  const int products = (needs.dx ? 1 : 0) + (needs.dweight ? 1 : 0);
  const DType parameters = parameter_dtype(x.dtype());
  ConvGradients g;
  if (needs.dx) g.dx = empty(x.shape(), x.dtype());
  if (needs.dweight) g.dweight = empty(weight.shape(), parameters);
  if (needs.dbias) g.dbias = empty({weight.dim(0)}, parameters);
  dispatch_activation(x.dtype(), "conv2d", [&](auto zero) {
    using T = decltype(zero);
    const ConvShape s = shape_of(x.shape(), weight.shape(), window, groups, kPack<T>);
    Scope scope(*this, "conv2d backward", products * s.flops(),
                static_cast<double>(dy.nbytes() + static_cast<std::size_t>(products) * x.nbytes()));
    if (dy.numel() == 0) {
      for (Tensor* t : {&g.dx, &g.dweight, &g.dbias})
        if (t->defined()) fill(*t, 0);
      return;
    }
    if (needs.dx && x.numel() > 0) {
      const Tensor w = packed_weight<T>(s, weight, stream_);
      for (int group = 0; group < groups; ++group)
        input_gradient<T>(s, group, dy, w, g.dx, *gemm_, stream_);
    }
    if (needs.dweight && x.numel() > 0) weight_gradient<T>(s, x, dy, g.dweight, *gemm_, stream_);
    if (needs.dbias) g.dbias = column_sums(*this, stream_, dy.reshape({s.pixels(), s.out}));
  });
  return g;
}

}  // namespace nextgrad::cuda

// Non-negative matrix factorisation (tensor/nmf.cpp): per image X [P,D], bases B [D,R],
// coefficients C [P,R]. All products are cuBLASLt's, and each gives two results at once, as the
// operands lie in one buffer of f32 (or f64):
//
//             D     R
//          +-----+-----+
//        P |  X  |  C  |      rows B    = X B  over  B^T B        (n and G)
//          +-----+-----+      cols^T C  = X^T C over C^T C        (m and H)
//        R | B^T |  0  |
//          +-----+-----+
//     rest |  0  |  0  |      so that all images' pieces of rows are one batch
//
// Between them one kernel does all that is elementwise: an update forward; backward the gradients
// of one update and the sum of what reaches the next. A block is R x some rows, its R x R matrix in
// shared memory. A step is four launches, either way. Bound: X from memory, once a product.
#include <algorithm>

#include "cuda/device/cuda_backend.h"
#include "cuda/device/gemm.h"
#include "cuda/kit/kernel.h"
#include "tensor/costs.h"

namespace nextgrad::cuda {
namespace {

#ifdef NEXTGRAD_EMULATE_CUDA
constexpr std::int64_t kPiece = 24;
#else
constexpr std::int64_t kPiece = 512;  // rows that a sum over pixels is cut into
#endif
constexpr double kEps = 1e-6;
constexpr std::int64_t kMostRank = 64;  // R x R of f64 and a block's lines: 34 KiB of shared memory

struct Extents {
  std::int64_t images, p, d, r;
  std::int64_t pieces, rows, width;  // of an image's part of the buffer

  Extents(const Tensor& x, std::int64_t rank)
      : images(x.dim(0)),
        p(x.dim(1)),
        d(x.dim(2)),
        r(rank),
        pieces(parts_of(p + r, kPiece)),
        rows(parts_of(parts_of(p + r, pieces), 8) * 8 * pieces),
        width(d + r) {}
  std::int64_t piece() const { return rows / pieces; }
};

// A thread's row and column r of [images, rows, R], a block some rows of one image. Threads past
// the last row stay for the barriers.
struct Place {
  std::int64_t image, row, at;  // at: of [row, r] in such a map
  int r, line;                  // line: of the block
  bool inside;
};
__device__ __forceinline__ Place place_of(std::int64_t rows, int rank) {
  Place t{};
  t.r = static_cast<int>(threadIdx.x);
  t.line = static_cast<int>(threadIdx.y);
  t.image = blockIdx.y;
  t.row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  t.inside = t.row < rows;
  t.at = (t.image * rows + t.row) * rank + t.r;
  return t;
}
Grid grid_of(const Extents& e, std::int64_t rows, std::size_t numbers_a_thread, std::size_t rest,
             std::size_t size) {
  const auto lines = static_cast<unsigned>(std::max<std::int64_t>(1, kThreads / e.r));
  const dim3 threads(static_cast<unsigned>(e.r), lines);
  return {dim3(static_cast<unsigned>(parts_of(rows, lines)), static_cast<unsigned>(e.images)),
          threads, (numbers_a_thread * threads.x * threads.y + rest) * size};
}

// Sum over a row of `line` (of shared memory or not) times a column of `matrix` [R,R].
template <class C>
__device__ __forceinline__ C row_times(const C* line, const C* matrix, int r, int rank) {
  C sum = 0;
#pragma unroll 4
  for (int q = 0; q < rank; ++q) sum += line[q] * matrix[q * rank + r];
  return sum;
}

// to [R,R] in shared memory = the sum of `pieces` matrices (rows of `pitch`, `stride` apart), plus
// its transpose if `symmetric`. All threads; no barrier at its end.
template <class C>
__device__ __forceinline__ void gather_square(const C* from, std::int64_t pieces,
                                              std::int64_t stride, int pitch, int rank,
                                              bool symmetric, C* to) {
  const int me = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  const int threads = static_cast<int>(blockDim.x * blockDim.y);
  for (int i = me; i < rank * rank; i += threads) {
    const int row = i / rank, column = i - row * rank;
    C sum = 0;
    for (std::int64_t k = 0; k < pieces; ++k) {
      sum += from[k * stride + row * pitch + column];
      if (symmetric) sum += from[k * stride + column * pitch + row];
    }
    to[i] = sum;
  }
}

// The buffer at first: X widened, C 0, B^T, zeros.
template <class T>
__global__ void begin_factors(const T* x, const Compute<T>* bases, Extents e, Compute<T>* buffer) {
  using C = Compute<T>;
  const std::int64_t n = e.images * e.rows * e.width;
  for (std::int64_t i = global_index(); i < n; i += global_threads()) {
    const std::int64_t all_rows = i / e.width, column = i - all_rows * e.width;
    const std::int64_t image = all_rows / e.rows, row = all_rows - image * e.rows;
    C v = 0;
    if (column < e.d && row < e.p)
      v = widen(x[(image * e.p + row) * e.d + column]);
    else if (column < e.d && row < e.p + e.r)
      v = bases[(image * e.d + column) * e.r + row - e.p];
    buffer[i] = v;
  }
}

// c = softmax(inv_t n), a thread a pixel; n [images, rows, R], c [images, P, R].
template <class C>
__global__ void first_coef(const C* n, Extents e, C inv_t, C* c) {
  const int rank = static_cast<int>(e.r);
  for (std::int64_t i = global_index(); i < e.images * e.p; i += global_threads()) {
    const C* from = n + (i / e.p * e.rows + i % e.p) * rank;
    C most = from[0], total = 0;
    for (int q = 1; q < rank; ++q) most = Max()(most, from[q]);
    for (int q = 0; q < rank; ++q) total += std::exp((from[q] - most) * inv_t);
    for (int q = 0; q < rank; ++q) c[i * rank + q] = std::exp((from[q] - most) * inv_t) / total;
  }
}

// c' = c n / (c G + eps), to the buffer too; n's image ends with G.
template <class C>
__global__ void update_coef(const C* c, const C* n, Extents e, C* to, C* buffer) {
  auto* square = shared_memory<C>();
  const int rank = static_cast<int>(e.r);
  const Place t = place_of(e.p, rank);
  gather_square(n + (t.image * e.rows + e.p) * rank, 1, 0, rank, rank, false, square);
  __syncthreads();
  if (!t.inside) return;
  const C d = row_times(c + t.at - t.r, square, t.r, rank) + C(kEps);
  const C v = c[t.at] * n[(t.image * e.rows + t.row) * rank + t.r] / d;
  to[t.at] = v;
  buffer[(t.image * e.rows + t.row) * e.width + e.d + t.r] = v;
}

// b' = b m / (b H + eps), and b'^T into the buffer; pieces of m over H [images, pieces, D + R, R],
// whose sums are left in `sums` [images, D + R, R] for the backward, if given.
template <class C>
__global__ void update_bases(const C* b, const C* pieces, Extents e, C* to, C* buffer, C* sums) {
  auto* square = shared_memory<C>();
  const int rank = static_cast<int>(e.r);
  const Place t = place_of(e.d, rank);
  const std::int64_t each = e.width * rank;
  const C* mine = pieces + t.image * e.pieces * each;
  gather_square(mine + e.d * rank, e.pieces, each, rank, rank, false, square);
  __syncthreads();
  if (sums != nullptr && blockIdx.x == 0)
    for (int q = t.line; q < rank; q += static_cast<int>(blockDim.y))
      sums[t.image * each + (e.d + q) * rank + t.r] = square[q * rank + t.r];
  if (!t.inside) return;
  C m = 0;
  for (std::int64_t k = 0; k < e.pieces; ++k) m += mine[k * each + t.row * rank + t.r];
  const C d = row_times(b + t.at - t.r, square, t.r, rank) + C(kEps);
  const C v = b[t.at] * m / d;
  to[t.at] = v;
  buffer[(t.image * e.rows + e.p + t.r) * e.width + t.row] = v;
  if (sums != nullptr) sums[t.image * each + t.row * rank + t.r] = m;
}

// --- backward ---

// dy widened [images, rows, D], zeros behind P, and the last C back into the buffer.
template <class T>
__global__ void begin_gradients(const T* dy, const Compute<T>* coef, Extents e, Compute<T>* wide,
                                Compute<T>* buffer) {
  const std::int64_t n = e.images * e.rows * e.width;
  for (std::int64_t i = global_index(); i < n; i += global_threads()) {
    const std::int64_t all_rows = i / e.width, column = i - all_rows * e.width;
    const std::int64_t image = all_rows / e.rows, row = all_rows - image * e.rows;
    if (column < e.d)
      wide[all_rows * e.d + column] =
          row < e.p ? widen(dy[(image * e.p + row) * e.d + column]) : Compute<T>(0);
    else if (row < e.p)
      buffer[i] = coef[(image * e.p + row) * e.r + column - e.d];
  }
}

// Of c' = c n / (c G + eps), where dc' is `carry` [images, rows, R], plus, if `reached` is given,
// X dM and c' (dH + dH^T) of the bases' update that read c' (its last rows hold dH beside what is
// not wanted). Leaves dc in `carry`; dn and dd beside each other in `pair` [images, rows, 2 R],
// zeros behind P; dn and c' in two columns of `left`; c in the buffer. At the first step c was
// softmax(inv_t n): its gradient joins dn.
template <class C>
__global__ void coef_gradients(Extents e, const C* c, const C* n, const C* next, const C* reached,
                               bool first, C inv_t, C* carry, C* pair, C* left, int pitch,
                               int dn_at, int next_at, C* buffer) {
  const int rank = static_cast<int>(e.r);
  auto *square = shared_memory<C>(), *lines = square + rank * rank;
  const Place t = place_of(e.rows, rank);
  const bool inside = t.row < e.p;
  const std::int64_t small = (t.image * e.p + t.row) * rank + t.r;  // of [images, P, R]
  C* line = lines + t.line * rank;
  C dy = inside ? carry[t.at] : C(0);
  if (reached != nullptr) {
    gather_square(reached + ((t.image * e.rows + e.p) * 2 + 1) * rank, 1, 0, 2 * rank, rank, true,
                  square);
    __syncthreads();
    if (inside)
      dy += reached[(t.image * e.rows + t.row) * 2 * rank + t.r] +
            row_times(next + small - t.r, square, t.r, rank);
    __syncthreads();
  }
  gather_square(n + (t.image * e.rows + e.p) * rank, 1, 0, rank, rank, false, square);
  __syncthreads();
  C dn = 0, dd = 0, dc = 0, was = 0;
  if (inside) {
    was = c[small];
    const C num = n[t.at], d = row_times(c + small - t.r, square, t.r, rank) + C(kEps);
    dn = dy / d * was;
    dd = -(dn * num / d);
    dc = dy / d * num;
  }
  line[t.r] = dd;
  __syncthreads();
  dc += row_times(line, square, t.r, rank);
  if (first) {
    __syncthreads();
    line[t.r] = dc * was;
    __syncthreads();
    C sum = 0;
    for (int q = 0; q < rank; ++q) sum += line[q];
    dn += inv_t * was * (dc - sum);
  }
  if (!t.inside) return;
  if (pair != nullptr) {
    C* to = pair + (t.image * e.rows + t.row) * 2 * rank + t.r;
    to[0] = dn;
    to[rank] = dd;
  }
  if (!inside) return;
  carry[t.at] = dc;
  C* columns = left + (t.image * e.p + t.row) * pitch + t.r;
  columns[dn_at] = dn;
  if (next_at >= 0) columns[next_at] = next[small];
  buffer[(t.image * e.rows + t.row) * e.width + e.d + t.r] = was;
}

// Where the sum for db comes from: pieces [images, pieces, rows, pitch], the first R columns of the
// first D rows.
template <class C>
struct Pieces {
  const C* at;
  std::int64_t rows;
  int pitch;
};

// Of b' = b m / (b H + eps) (m over H in `sums`), where db' is the sum of `last` (the output's, at
// the last step) or of `carry` [images, D, R], of X^T dn, and of b' (dG + dG^T): `cross` holds [X^T
// dn, -; -, dG], pieces [images, pieces, D + R, 2 R]. Leaves db in `carry`; dm and dd beside each
// other in `pair` [images, D, 2 R]; b', dm, and b if there is a place, in columns of `right`; b^T
// in the buffer.
template <class C>
__global__ void base_gradients(Extents e, const C* b, const C* next, const C* sums, Pieces<C> last,
                               const C* cross, C* carry, C* pair, C* right, int pitch, int next_at,
                               int dm_at, int b_at, C* buffer) {
  const int rank = static_cast<int>(e.r);
  auto *square = shared_memory<C>(), *lines = square + rank * rank;
  const Place t = place_of(e.d, rank);
  const std::int64_t each = e.width * rank;
  C* line = lines + t.line * rank;
  const C* mine = cross + t.image * e.pieces * 2 * each;
  gather_square(mine + e.d * 2 * rank + rank, e.pieces, 2 * each, 2 * rank, rank, true, square);
  __syncthreads();
  C dy = 0;
  if (t.inside) {
    dy = row_times(next + t.at - t.r, square, t.r, rank);
    if (last.at == nullptr) dy += carry[t.at];
    for (std::int64_t k = 0; k < e.pieces; ++k) {
      dy += mine[k * 2 * each + t.row * 2 * rank + t.r];
      if (last.at != nullptr)
        dy += last.at[((t.image * e.pieces + k) * last.rows + t.row) * last.pitch + t.r];
    }
  }
  __syncthreads();
  gather_square(sums + t.image * each + e.d * rank, 1, 0, rank, rank, false, square);
  __syncthreads();
  C dm = 0, dd = 0, db = 0, was = 0;
  if (t.inside) {
    was = b[t.at];
    const C m = sums[t.image * each + t.row * rank + t.r];
    const C d = row_times(b + t.at - t.r, square, t.r, rank) + C(kEps);
    dm = dy / d * was;
    dd = -(dm * m / d);
    db = dy / d * m;
  }
  line[t.r] = dd;
  __syncthreads();
  if (!t.inside) return;
  carry[t.at] = db + row_times(line, square, t.r, rank);
  C* to = pair + (t.image * e.d + t.row) * 2 * rank + t.r;
  to[0] = dm;
  to[rank] = dd;
  C* columns = right + (t.image * e.d + t.row) * pitch + t.r;
  columns[next_at] = next[t.at];
  columns[dm_at] = dm;
  if (b_at >= 0) columns[b_at] = was;
  buffer[(t.image * e.rows + e.p + t.r) * e.width + t.row] = was;
}

// --- the host's part ---

// What a forward keeps: the buffer; of each kept step b, c and n with G; of each but the last the
// sums of m and H.
constexpr std::size_t kBuffer = 0, kFirstStep = 1, kOfStep = 4;

// Products of operands of one dtype.
struct Products {
  Gemm& gemm;
  const Extents& e;
  DType dtype;

  // rows B: [images, rows, columns] = the buffer's rows times b [images, D, columns].
  void rows_times(const Tensor& buffer, const Tensor& b, Tensor& to) const {
    const std::int64_t columns = b.dim(2);
    gemm.run({.m = e.rows,
              .n = columns,
              .k = e.d,
              .a = buffer.raw(),
              .b = b.raw(),
              .c = to.raw(),
              .in = dtype,
              .out = dtype,
              .lda = e.width,
              .batch = e.images,
              .stride_a = e.rows * e.width,
              .stride_b = e.d * columns,
              .stride_c = e.rows * columns});
  }
  // Pieces [images * pieces, m, n] of a^T b, whose rows are those of the buffer: a [rows, lda].
  void over_rows(const Tensor& a, std::int64_t m, std::int64_t lda, const void* b, std::int64_t n,
                 std::int64_t ldb, Tensor& to) const {
    gemm.run({.m = m,
              .n = n,
              .k = e.piece(),
              .a = a.raw(),
              .b = b,
              .c = to.raw(),
              .transpose_a = true,
              .in = dtype,
              .out = dtype,
              .lda = lda,
              .ldb = ldb,
              .batch = e.images * e.pieces,
              .stride_a = e.piece() * lda,
              .stride_b = e.piece() * ldb,
              .stride_c = m * n});
  }
  // a [images, m, k] b^T, b [images, n, k].
  void by_image(const Tensor& a, std::int64_t m, const Tensor& b, bool transpose_b,
                Tensor& to) const {
    const std::int64_t k = a.dim(2), n = b.dim(transpose_b ? 1 : 2);
    gemm.run({.m = m,
              .n = n,
              .k = k,
              .a = a.raw(),
              .b = b.raw(),
              .c = to.raw(),
              .transpose_b = transpose_b,
              .in = dtype,
              .out = dtype,
              .batch = e.images,
              .stride_a = a.dim(1) * k,
              .stride_b = b.dim(1) * b.dim(2),
              .stride_c = m * n});
  }
};

template <class C>
const void* coef_in(const Tensor& buffer, const Extents& e) {
  return buffer.data<C>() + e.d;
}

bool fused_nmf(const Tensor& x, std::int64_t rank) {
  return x.numel() > 0 && rank >= 1 && rank <= kMostRank && x.dim(0) < 65536;
}

}  // namespace

NmfResult CudaBackend::nmf(const Tensor& x, const Tensor& bases, const NmfOptions& o,
                           NmfKeep keep) {
  if (!fused_nmf(x, bases.dim(2))) return Fused::nmf(x, bases, o, keep);
  Scope scope(*this, costs::nmf(x, bases, o));
  const Extents e(x, bases.dim(2));
  const DType dtype = bases.dtype();
  const Products products{*gemm_, e, dtype};
  NmfResult r;
  Tensor buffer = empty({e.images, e.rows, e.width}, dtype);
  dispatch_activation(x.dtype(), "nmf", [&]<class T>() {
    using C = Compute<T>;
    const std::size_t square = e.r * e.r;
    launch("begin_factors", begin_factors<T>, grid_for(buffer.numel()), stream_, x, bases, e,
           buffer);
    if (keep != NmfKeep::nothing) r.kept.push_back(buffer);
    Tensor b = bases, n = empty({e.images, e.rows, e.r}, dtype);
    products.rows_times(buffer, b, n);
    r.coef = empty({e.images, e.p, e.r}, dtype);
    launch("first_coef", first_coef<C>, grid_for(e.images * e.p, 64), stream_, n, e,
           static_cast<C>(o.inv_t), r.coef);
    Tensor pieces = empty({e.images * e.pieces, e.width, e.r}, dtype);
    for (int k = 0;; ++k) {
      const bool all = keep == NmfKeep::all_steps;
      const Tensor c = std::exchange(r.coef, empty_like(r.coef));
      launch("update_coef", update_coef<C>, grid_of(e, e.p, 0, square, sizeof(C)), stream_, c, n, e,
             r.coef, buffer);
      Tensor sums;
      if (all && k < o.steps) sums = empty({e.images, e.width, e.r}, dtype);
      if (all || (keep == NmfKeep::last_step && k == o.steps))
        r.kept.insert(r.kept.end(), {b, c, n, sums});
      if (k == o.steps) break;
      products.over_rows(buffer, e.width, e.width, coef_in<C>(buffer, e), e.r, e.width, pieces);
      const Tensor next = empty_like(b);
      launch("update_bases", update_bases<C>, grid_of(e, e.d, 0, square, sizeof(C)), stream_, b,
             pieces, e, next, buffer, sums);
      b = next;
      if (all) n = empty_like(n);
      products.rows_times(buffer, b, n);
    }
    Tensor y = empty(x.shape(), dtype);
    products.by_image(r.coef, e.p, b, true, y);
    r.y = y.to(x.dtype());
  });
  return r;
}

Tensor CudaBackend::nmf_backward(const Tensor& x, const NmfResult& r, const NmfOptions& o,
                                 NmfKeep kept, const Tensor& dy) {
  if (!fused_nmf(x, r.coef.dim(2))) return Fused::nmf_backward(x, r, o, kept, dy);
  Scope scope(*this, costs::nmf_backward(x, r.coef, o, kept));
  const Extents e(x, r.coef.dim(2));
  const DType dtype = r.coef.dtype();
  const Products products{*gemm_, e, dtype};
  const bool all = kept == NmfKeep::all_steps;
  const int last = all ? o.steps : 0, factors = 2 * last + 1, rank = static_cast<int>(e.r);
  const Tensor& buffer = r.kept[kBuffer];
  const auto at = [&](int step, std::size_t what) -> const Tensor& {
    return r.kept[kFirstStep + static_cast<std::size_t>(step) * kOfStep + what];
  };
  const Tensor wide = empty({e.images, e.rows, e.d}, dtype);
  Tensor carry = empty({e.images, e.rows, e.r}, dtype), left, right, base_carry;
  left = empty({e.images, e.p, factors * e.r}, dtype);
  right = last == 0 ? at(0, 0) : empty({e.images, e.d, factors * e.r}, dtype);
  Tensor output, cross, pair, base_pair, reached;
  if (last > 0) {
    output = empty({e.images * e.pieces, e.d, e.r}, dtype);
    cross = empty({e.images * e.pieces, e.width, 2 * e.r}, dtype);
    pair = empty({e.images, e.rows, 2 * e.r}, dtype);
    base_pair = empty({e.images, e.d, 2 * e.r}, dtype);
    reached = empty({e.images, e.rows, 2 * e.r}, dtype);
    base_carry = empty({e.images, e.d, e.r}, dtype);
  }
  Tensor dx = empty(x.shape(), dtype);
  dispatch_activation(dy.dtype(), "nmf_backward", [&]<class T>() {
    using C = Compute<T>;
    const std::size_t square = e.r * e.r;
    launch("begin_gradients", begin_gradients<T>, grid_for(buffer.numel()), stream_, dy, r.coef, e,
           wide, buffer);
    products.by_image(wide, e.rows, at(last, 0), false, carry);
    if (last > 0) products.over_rows(wide, e.d, e.d, coef_in<C>(buffer, e), e.r, e.width, output);
    for (int k = last;; --k) {
      const bool softmax_too = all && k == 0, ends = !all || k == 0;
      // Factors in the order of steps: dn_k, then c_(k+1) of the bases' update before.
      const int dn_at = 2 * k * rank, next_at = k < last ? (2 * k + 1) * rank : -1;
      launch("coef_gradients", coef_gradients<C>, grid_of(e, e.rows, 1, square, sizeof(C)), stream_,
             e, at(k, 1), at(k, 2), k < last ? at(k + 1, 1) : Tensor(),
             k < last ? reached : Tensor(), softmax_too, static_cast<C>(o.inv_t), carry,
             ends ? Tensor() : pair, left, factors * rank, all ? dn_at : 0, next_at, buffer);
      if (ends) break;
      products.over_rows(buffer, e.width, e.width, pair.raw(), 2 * e.r, 2 * e.r, cross);
      const Pieces<C> first{k == last ? output.data<C>() : nullptr, e.d, rank};
      launch("base_gradients", base_gradients<C>, grid_of(e, e.d, 1, square, sizeof(C)), stream_, e,
             at(k - 1, 0), at(k, 0), at(k - 1, 3), first, cross, base_carry, base_pair, right,
             factors * rank, 2 * k * rank, (2 * k - 1) * rank, k == 1 ? 0 : -1, buffer);
      products.rows_times(buffer, base_pair, reached);
    }
    products.by_image(left, e.p, right, true, dx);
  });
  return dx.to(dy.dtype());
}

}  // namespace nextgrad::cuda

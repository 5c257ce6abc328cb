// Attention without its weights [M,N] in memory: "FlashAttention" (Dao, Fu, Ermon, Rudra and Ré,
// 2022). Forward and the three gradients are one scheme: a block owns a tile of rows and walks down
// the rows of the other side, tile by tile.
//
//              other rows: keys (dk, dv: queries)
//             +--------+--------+--      1. scores = own rows x other rows, over D channels, of
//   own rows  | scores | scores |           which kDepth at a time are in the panel; for dq and dk
//   (a block) +--------+--------+--         also dp, over E channels
//              panel: what the           2. weights from them, into shared memory
//              other rows carry          3. out += weights x panel, up to Parts tiles of channels,
//              (v; k, q or dy)              which stay in registers
//
// 16 x 16 threads have R x R numbers each of a tile (64 x 64; 32 x 32 in f64), read as packs. Rows
// of more channels are shared out over blocks (slabs), each of which makes the scores for itself.
// A backward multiplies eight times where five would do, and needs no atomics: every sum has one
// owner and one order. Bound: arithmetic, without tensor cores.
#include <cmath>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/row_team.h"
#include "tensor/costs.h"
#include "tensor/extents.h"

namespace nextgrad::cuda {
namespace {

constexpr int kSide = 16;
template <class C>
constexpr int kReg = static_cast<int>(16 / sizeof(C));  // R
template <class C>
constexpr int kTile = kReg<C>* kSide;
template <class C>
constexpr int kPitch = kTile<C> + kReg<C>;  // of shared memory, so that columns spread over banks
template <class C>
constexpr int kDepth = kTile<C> / 2;  // channels of both sides that fill a panel together
template <class C>
constexpr int kPanelSize = kPitch<C>*(2 * kDepth<C>);
template <class C>
using Tile = C[kReg<C>][kReg<C>];  // what a thread has of one

// Rows of one head.
template <class T>
struct Rows {
  T* data;
  std::int64_t rows, step, width;
};

// What all blocks share.
template <class T>
struct Work {
  AttentionExtents x;
  Compute<T> scale;
  const T *q, *k, *v;
  std::int64_t tiles, slabs;  // of own rows; of the result's channels

  // A head of `from` [b, rows, heads * width], `task` being image * heads + head.
  template <class U>
  __device__ __forceinline__ Rows<U> head(U* from, std::int64_t task, std::int64_t rows,
                                          std::int64_t width) const {
    const std::int64_t step = x.heads * width;
    return {from + task / x.heads * rows * step + task % x.heads * width, rows, step, width};
  }
};
template <class T>
struct Gradient : Work<T> {
  const T* dy;
  const Compute<T>*log_sum, *delta;  // delta [b, heads, m] = sum(dy y)
  T* out;
};

// What a block owns: rows from `row` on of a head, channels from `first` on of their result. A
// thread has rows from i on and columns from j on of every tile.
template <class T>
struct Place {
  std::int64_t task, row, first;
  int i, j;
  __device__ __forceinline__ Place(const Work<T>& w, int parts) {
    using C = Compute<T>;
    const std::int64_t block = blockIdx.x, tile = block / w.slabs;
    first = block % w.slabs * parts * kTile<C>;
    row = tile % w.tiles * kTile<C>;
    task = tile / w.tiles;
    i = static_cast<int>(threadIdx.x) / kSide * kReg<C>;
    j = static_cast<int>(threadIdx.x) % kSide * kReg<C>;
  }
};

// How many of the `most` from `first` on are inside.
__device__ __forceinline__ int inside(std::int64_t extent, std::int64_t first, int most) {
  return static_cast<int>(extent - first < most ? extent - first : most);
}

// panel[p][r] = x[row + r][first + p], kDepth channels of a tile's rows; 0 beyond the ends. A
// quarter of a warp reads neighbours, and all of it writes to banks of its own.
template <class T, class C>
__device__ __forceinline__ void fill_columns(const Rows<const T>& x, std::int64_t row,
                                             std::int64_t first, C* panel) {
  constexpr int R = kReg<C>, D = kDepth<C>;
  const int rows = inside(x.rows, row, kTile<C>), columns = inside(x.width, first, D);
  const T* from = x.data + row * x.step + first;
#pragma unroll 4
  for (int n = static_cast<int>(threadIdx.x); n < kTile<C> * D; n += kSide * kSide) {
    const int p = n / R % D, r = n / (R * D) * R + n % R;
    panel[p * kPitch<C> + r] = r < rows && p < columns ? widen(from[r * x.step + p]) : C(0);
  }
}
// panel[p][c] = x[row + p][first + c], a tile of rows and channels.
template <class T, class C>
__device__ __forceinline__ void fill_rows(const Rows<const T>& x, std::int64_t row,
                                          std::int64_t first, C* panel) {
  const int rows = inside(x.rows, row, kTile<C>), columns = inside(x.width, first, kTile<C>);
  const T* from = x.data + row * x.step + first;
#pragma unroll 4
  for (int n = static_cast<int>(threadIdx.x); n < kTile<C> * kTile<C>; n += kSide * kSide) {
    const int p = n / kTile<C>, c = n % kTile<C>;
    panel[p * kPitch<C> + c] = p < rows && c < columns ? widen(from[p * x.step + c]) : C(0);
  }
}

// sum[i][j] += the sum over p < depth of a[p][i] b[p][j]; a and b begin at this thread's numbers.
template <class C>
__device__ __forceinline__ void multiply(int depth, const C* a, const C* b, Tile<C>& sum) {
#pragma unroll 4
  for (int p = 0; p < depth; ++p) {
    C of_a[kReg<C>], of_b[kReg<C>];
    load<kReg<C>>(a + p * kPitch<C>, of_a);
    load<kReg<C>>(b + p * kPitch<C>, of_b);
    unroll<kReg<C>, kReg<C>>([&](int i, int j) { sum[i][j] += of_a[i] * of_b[j]; });
  }
}

// sum = x y^T for a tile of rows of each, over all their channels.
template <class T, class C>
__device__ __forceinline__ void rows_by_rows(const Place<T>& at, const Rows<const T>& x,
                                             const Rows<const T>& y, std::int64_t row_of_y,
                                             C* panel, Tile<C>& sum) {
  C* other = panel + kDepth<C> * kPitch<C>;
  unroll<kReg<C>, kReg<C>>([&](int i, int j) { sum[i][j] = 0; });
  for (std::int64_t first = 0; first < x.width; first += kDepth<C>) {
    fill_columns(x, at.row, first, panel);
    fill_columns(y, row_of_y, first, other);
    __syncthreads();
    multiply(inside(x.width, first, kDepth<C>), panel + at.i, other + at.j, sum);
    __syncthreads();
  }
}

// weights[other row][own row], from each thread's numbers; to be read after the next barrier.
template <class C>
__device__ __forceinline__ void leave_weights(int i, int j, const Tile<C>& tile, C* weights) {
  unroll<kReg<C>>([&](int column) {
    C of[kReg<C>];
    unroll<kReg<C>>([&](int r) { of[r] = tile[r][column]; });
    store<kReg<C>>(weights + (j + column) * kPitch<C> + i, of);
  });
}

// out += weights x rows from `row` on of z, channels from at.first on.
template <int Parts, class T, class C>
__device__ __forceinline__ void add_weighted(const Place<T>& at, const C* weights,
                                             const Rows<const T>& z, std::int64_t row, C* panel,
                                             Tile<C> (&out)[Parts]) {
  unroll<Parts>([&](int part) {
    const std::int64_t first = at.first + part * kTile<C>;
    if (first >= z.width) return;  // all threads alike
    fill_rows(z, row, first, panel);
    __syncthreads();
    multiply(kTile<C>, weights + at.i, panel + at.j, out[part]);
    __syncthreads();
  });
}

// Writes what of out is inside [rows, width], times each row's factor.
template <int Parts, class T, class C>
__device__ __forceinline__ void write_rows(const Place<T>& at, const Tile<C> (&out)[Parts],
                                           const C (&factor)[kReg<C>], const Rows<T>& place) {
  unroll<Parts, kReg<C>, kReg<C>>([&](int part, int i, int j) {
    const std::int64_t row = at.row + at.i + i, channel = at.first + part * kTile<C> + at.j + j;
    if (row < place.rows && channel < place.width)
      place.data[row * place.step + channel] = narrow<T>(out[part][i][j] * factor[i]);
  });
}

// Over the kSide threads that have the same rows.
template <class C, class Op>
__device__ __forceinline__ C combine_row(C value, Op op) {
#pragma unroll
  for (int step = kSide / 2; step > 0; step /= 2)
    value = op(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

// A row's largest score so far and its sum of exponentials over it, for each of a thread's rows.
template <class C>
struct RowStates {
  C most[kReg<C>], sum[kReg<C>], factor[kReg<C>];  // factor: what came before shrinks by
};
// Turns scores into exponentials, of the first `columns` from this thread's on.
template <class C>
__device__ __forceinline__ void soften(Tile<C>& s, C scale, std::int64_t columns,
                                       RowStates<C>& rows) {
  constexpr C kNone = -static_cast<C>(INFINITY);
  unroll<kReg<C>>([&](int i) {
    C most = rows.most[i], sum = 0;
    unroll<kReg<C>>([&](int j) {
      s[i][j] = j < columns ? s[i][j] * scale : kNone;
      most = Max()(s[i][j], most);
    });
    most = combine_row(most, Max());
    unroll<kReg<C>>([&](int j) { sum += s[i][j] = std::exp(s[i][j] - most); });
    sum = combine_row(sum, Sum());
    rows.factor[i] = std::exp(rows.most[i] - most);
    rows.sum[i] = rows.sum[i] * rows.factor[i] + sum;
    rows.most[i] = most;
  });
}

// y and, by the first slab, log_sum [b, heads, m].
template <class T, int Parts>
__global__ __launch_bounds__(kSide* kSide,
                             Parts == 1 ? 2 : 1) void attention_tiles(Work<T> w, T* y,
                                                                      Compute<T>* log_sum) {
  using C = Compute<T>;
  C *panel = shared_memory<C>(), *weights = panel + kPanelSize<C>;
  const Place<T> at(w, Parts);
  const Rows<const T> q = w.head(w.q, at.task, w.x.m, w.x.d),
                      k = w.head(w.k, at.task, w.x.n, w.x.d);
  const Rows<const T> v = w.head(w.v, at.task, w.x.n, w.x.e);
  Tile<C> s, out[Parts] = {};
  RowStates<C> rows;
  unroll<kReg<C>>([&](int i) { rows.most[i] = -static_cast<C>(INFINITY), rows.sum[i] = 0; });
  for (std::int64_t column = 0; column < w.x.n; column += kTile<C>) {
    rows_by_rows(at, q, k, column, panel, s);
    soften(s, w.scale, w.x.n - column - at.j, rows);
    unroll<Parts, kReg<C>, kReg<C>>(
        [&](int part, int i, int j) { out[part][i][j] *= rows.factor[i]; });
    leave_weights(at.i, at.j, s, weights);
    add_weighted(at, weights, v, column, panel, out);
  }
  C inverse[kReg<C>];
  unroll<kReg<C>>([&](int i) {
    inverse[i] = C(1) / rows.sum[i];
    const std::int64_t row = at.row + at.i + i;
    if (at.first == 0 && at.j == 0 && row < w.x.m)
      log_sum[at.task * w.x.m + row] = rows.most[i] + std::log(rows.sum[i]);
  });
  write_rows(at, out, inverse, w.head(y, at.task, w.x.m, w.x.e));
}

// Which gradient.
enum class Of { q, k, v };

// Weights of own and other rows in place of scores: p for dv, else scale p (dp - delta).
template <Of of, class T, class C>
__device__ __forceinline__ void gradient_weights(const Gradient<T>& g, const Place<T>& at,
                                                 std::int64_t column, Tile<C>& s,
                                                 const Tile<C>& dp) {
  unroll<kReg<C>, kReg<C>>([&](int i, int j) {
    const std::int64_t own = at.row + at.i + i, other = column + at.j + j;
    const std::int64_t query = of == Of::q ? own : other, key = of == Of::q ? other : own;
    if (query >= g.x.m || key >= g.x.n) {
      s[i][j] = 0;
      return;
    }
    const std::int64_t of_query = at.task * g.x.m + query;
    const C p = std::exp(s[i][j] * g.scale - g.log_sum[of_query]);
    s[i][j] = of == Of::v ? p : g.scale * p * (dp[i][j] - g.delta[of_query]);
  });
}

template <class T, Of of, int Parts>
__global__ __launch_bounds__(kSide* kSide,
                             Parts == 1 ? 2 : 1) void attention_gradient_tiles(Gradient<T> g) {
  using C = Compute<T>;
  C *panel = shared_memory<C>(), *weights = panel + kPanelSize<C>;
  const Place<T> at(g, Parts);
  const Rows<const T> q = g.head(g.q, at.task, g.x.m, g.x.d),
                      k = g.head(g.k, at.task, g.x.n, g.x.d);
  const Rows<const T> dy = g.head(g.dy, at.task, g.x.m, g.x.e),
                      v = g.head(g.v, at.task, g.x.n, g.x.e);
  const bool by_query = of == Of::q;
  const Rows<const T>&own = by_query ? q : k, &other = by_query ? k : q;
  const Rows<const T>&own_dp = by_query ? dy : v, &other_dp = by_query ? v : dy;
  const Rows<const T>& carried = of == Of::v ? dy : other;
  Tile<C> s, dp, out[Parts] = {};
  for (std::int64_t column = 0; column < other.rows; column += kTile<C>) {
    rows_by_rows(at, own, other, column, panel, s);
    if constexpr (of != Of::v) rows_by_rows(at, own_dp, other_dp, column, panel, dp);
    gradient_weights<of>(g, at, column, s, dp);
    leave_weights(at.i, at.j, s, weights);
    add_weighted(at, weights, carried, column, panel, out);
  }
  C one[kReg<C>];
  unroll<kReg<C>>([&](int i) { one[i] = 1; });
  write_rows(at, out, one, g.head(g.out, at.task, own.rows, carried.width));
}

// delta [b, heads, m]: the sums of a y over each head's channels, [b, m, heads, e].
template <class T>
__global__ void head_products(const T* dy, const T* y, AttentionExtents x, int lanes,
                              Compute<T>* delta) {
  using C = Compute<T>;
  __shared__ C scratch[32];
  const std::int64_t rows = x.b * x.m * x.heads;
  for (TeamRows team(lanes); team.more(rows); team.next()) {
    const std::int64_t end = team.row < rows ? x.e : 0, start = team.row * x.e;
    C sum = 0;
    for (std::int64_t i = team.lane; i < end; i += lanes)
      sum += widen(dy[start + i]) * widen(y[start + i]);
    sum = team.combine(sum, scratch);
    if (team.lane != 0 || team.row >= rows) continue;
    const std::int64_t head = team.row % x.heads, query = team.row / x.heads;
    delta[(query / x.m * x.heads + head) * x.m + query % x.m] = sum;
  }
}

// Fills in how blocks share `rows` of each head and `width` channels of their result, and calls
// fn<Parts>(grid).
template <class T, class Fn>
void with_grid(Work<T>& w, std::int64_t rows, std::int64_t width, Fn&& fn) {
  using C = Compute<T>;
  const int parts = width <= kTile<C> ? 1 : 4;
  w.tiles = parts_of(rows, kTile<C>);
  w.slabs = std::max<std::int64_t>(1, parts_of(width, parts * kTile<C>));
  const Grid grid{dim3(static_cast<unsigned>(w.x.b * w.x.heads * w.tiles * w.slabs)),
                  dim3(kSide * kSide), 2 * kPanelSize<C> * sizeof(C)};
  if (parts == 1)
    fn.template operator()<1>(grid);
  else
    fn.template operator()<4>(grid);
}

template <class T, Of of>
void launch_gradient(cudaStream_t stream, Gradient<T> g, Tensor& out) {
  const bool by_query = of == Of::q;
  g.out = out.data<T>();
  with_grid(g, by_query ? g.x.m : g.x.n, of == Of::v ? g.x.e : g.x.d, [&]<int Parts>(Grid grid) {
    launch("attention_backward", attention_gradient_tiles<T, of, Parts>, grid, stream, g);
  });
}

}  // namespace

AttentionResult CudaBackend::attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads,
                                       double scale) {
  Scope scope(*this, costs::attention(q, k, v, heads));
  const AttentionExtents x = attention_extents(q, k, v, heads);
  if (x.empty()) return empty_attention(q, x);
  AttentionResult r{empty({x.b, x.m, x.heads * x.e}, q.dtype()),
                    empty({x.b, x.heads, x.m}, parameter_dtype(q.dtype()))};
  dispatch_activation(q.dtype(), "attention", [&]<class T>() {
    Work<T> work{x, static_cast<Compute<T>>(scale), q.data<T>(), k.data<T>(), v.data<T>(), 0, 0};
    with_grid(work, x.m, x.e, [&]<int Parts>(Grid grid) {
      launch("attention", attention_tiles<T, Parts>, grid, stream_, work, r.y, r.log_sum);
    });
  });
  return r;
}

AttentionGradients CudaBackend::attention_backward(const Tensor& q, const Tensor& k,
                                                   const Tensor& v, const Tensor& y,
                                                   const Tensor& log_sum, const Tensor& dy,
                                                   int heads, double scale) {
  Scope scope(*this, costs::attention_backward(q, k, v, dy, heads));
  const AttentionExtents x = attention_extents(q, k, v, heads);
  if (x.empty()) return empty_attention_gradients(q, k, v);
  AttentionGradients g{empty_like(q), empty_like(k), empty_like(v)};
  const Tensor delta = empty_like(log_sum);
  dispatch_activation(q.dtype(), "attention_backward", [&]<class T>() {
    using C = Compute<T>;
    const std::int64_t rows = x.b * x.m * x.heads;
    const int lanes = team_lanes(x.e);
    launch("head_products", head_products<T>, team_grid(rows, lanes), stream_, dy, y, x, lanes,
           delta);
    const Work<T> work{x, static_cast<C>(scale), q.data<T>(), k.data<T>(), v.data<T>(), 0, 0};
    const Gradient<T> all{work, dy.data<T>(), log_sum.data<C>(), delta.data<C>(), nullptr};
    launch_gradient<T, Of::q>(stream_, all, g.dq);
    launch_gradient<T, Of::k>(stream_, all, g.dk);
    launch_gradient<T, Of::v>(stream_, all, g.dv);
  });
  return g;
}

}  // namespace nextgrad::cuda

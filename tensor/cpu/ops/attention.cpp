// Attention, softmax(scale q k^T) v in each head, without its weights [M,N] ever being stored:
// "FlashAttention" (Dao, Fu, Ermon, Rudra and Ré, 2022), Algorithm 1 and its backward.
//
//                 keys [N]
//            +------+------+--    A tile of scores, kTileRows x kTileColumns, lives in L2 from the
//   queries  | tile | tile |  ->  product that makes it to the one that uses it.
//     [M]    +------+------+
//            | tile | tile |
//            +------+------+
//               |
//               v
//
// Forward: a task is kTaskRows queries of a head. It packs a block of keys and values once (gemm.h)
// and goes down its queries; y is a sum of exponentials over the largest score so far, and is
// shrunk where a larger one comes.
// Backward: a task is a piece of the keys of a head, block by block. Scores come again, their
// weights from log_sum; dk and dv of the block are sums down all queries. dq is a sum over the
// piece; where a head has several, they are added in order.
//
// How keys are cut depends on the shapes alone, so the threads change nothing in the sums.
// Bound: arithmetic. Against the products one by one nothing of M x N numbers travels to memory.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/gemm.h"
#include "tensor/cpu/kit/math.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/extents.h"

namespace nextgrad::cpu {

namespace {

struct PackedKeys;
struct PackedKeysTransposed;
struct PackedValues;
struct PackedQueries;
struct PackedSlopes;
struct TileOfScores;
struct TileOfSlopes;

constexpr std::int64_t kTileRows = 8 * kRows, kTileColumns = 128;
constexpr std::int64_t kTaskRows = 4 * kTileRows;     // most queries of a forward task
constexpr std::int64_t kPieceColumns = 512;           // fewest keys of a backward task
constexpr std::int64_t kTasks = 16, kMostPieces = 8;  // tasks wanted; of one head
// From row to row of a tile: no power of two, so that columns, read downwards, find their place in
// L1.
template <class T>
constexpr std::int64_t kPitch = kTileColumns + kLanes<T>;

template <class T>
struct Job : AttentionExtents {
  T scale;
  const T *q, *k, *v;
};

// Rows from `row` on of one head of x [b, rows, heads * width], `task` being image * heads + head.
template <class T>
T* head_rows(T* x, std::int64_t task, std::int64_t heads, std::int64_t rows, std::int64_t width,
             std::int64_t row) {
  return x + (task / heads * rows + row) * heads * width + task % heads * width;
}

template <class T>
void multiply_by(T* x, std::int64_t n, T factor) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// A block's rows of one head, packed as B [rows, width] or, transposed, as B [width, rows].
template <class Tag, class T>
T* packed_rows(const T* x, std::int64_t row, std::int64_t rows, std::int64_t width) {
  T* packed = scratch<Tag, T>(packed_size<T>(rows, width));
  pack<T>({x, row, 1}, rows, width, packed);
  return packed;
}
template <class Tag, class T>
T* packed_columns(const T* x, std::int64_t row, std::int64_t rows, std::int64_t width) {
  T* packed = scratch<Tag, T>(packed_size<T>(width, rows));
  pack<T>({x, 1, row}, width, rows, packed);
  return packed;
}

// --- forward ---

// The largest score of a row so far, and the sum of exponentials over it.
template <class T>
struct RowState {
  T most = -std::numeric_limits<T>::infinity(), sum = 0;
};

// Turns scores into exponentials; returns what the sums before them shrink by.
template <class T>
T soften(T* s, std::int64_t n, RowState<T>& row) {
  T most = row.most, sum = 0;
#pragma omp simd reduction(max : most)
  for (std::int64_t i = 0; i < n; ++i) most = s[i] > most ? s[i] : most;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    s[i] = cpu::exp(s[i] - most);
    sum += s[i];
  }
  const T factor = cpu::exp(row.most - most);
  row = {most, row.sum * factor + sum};
  return factor;
}

// A block of keys and values, packed; `first`: nothing is in y yet.
template <class T>
struct Block {
  std::int64_t columns;
  const T *keys, *values;
  bool first;
};

// y = y shrunk + exponentials * values, for rows [row, row + rows) of a task.
template <class T>
void add_tile(const Job<T>& j, std::int64_t task, std::int64_t row, std::int64_t rows,
              const Block<T>& block, RowState<T>* state, T* y) {
  T* s = scratch<TileOfScores, T>(kTileRows * kPitch<T>);
  T* to = head_rows(y, task, j.heads, j.m, j.e, row);
  multiply_block(rows, block.columns, j.d, head_rows(j.q, task, j.heads, j.m, j.d, row),
                 j.heads * j.d, block.keys, j.d * kPanel<T>, static_cast<const T*>(nullptr), false,
                 s, kPitch<T>);
  for (std::int64_t r = 0; r < rows; ++r) {
    const T factor = soften(s + r * kPitch<T>, block.columns, state[r]);
    if (!block.first && factor != 1) multiply_by(to + r * j.heads * j.e, j.e, factor);
  }
  multiply_block(rows, j.e, block.columns, s, kPitch<T>, block.values, block.columns * kPanel<T>,
                 static_cast<const T*>(nullptr), !block.first, to, j.heads * j.e);
}

// Queries [row, row + rows) of a head, at most kTaskRows.
template <class T>
void attend(const Job<T>& j, std::int64_t task, std::int64_t row, std::int64_t rows, T* y,
            T* log_sum) {
  std::array<RowState<T>, kTaskRows> state{};
  for (std::int64_t c = 0; c < j.n; c += kTileColumns) {
    const std::int64_t columns = std::min(kTileColumns, j.n - c);
    T* keys = packed_columns<PackedKeys>(head_rows(j.k, task, j.heads, j.n, j.d, c), j.heads * j.d,
                                         columns, j.d);
    multiply_by(keys, packed_size<T>(j.d, columns), j.scale);
    const T* values = packed_rows<PackedValues>(head_rows(j.v, task, j.heads, j.n, j.e, c),
                                                j.heads * j.e, columns, j.e);
    for (std::int64_t r = 0; r < rows; r += kTileRows)
      add_tile(j, task, row + r, std::min(kTileRows, rows - r), {columns, keys, values, c == 0},
               state.data() + r, y);
  }
  T* to = head_rows(y, task, j.heads, j.m, j.e, row);
  for (std::int64_t r = 0; r < rows; ++r, to += j.heads * j.e) {
    multiply_by(to, j.e, T(1) / state[r].sum);
    log_sum[task * j.m + row + r] = state[r].most + std::log(state[r].sum);
  }
}

// --- backward ---

// What its tasks read and write besides; delta [b, heads, m] = sum(dy y).
template <class T>
struct Gradient {
  const T *dy, *log_sum, *delta;
  T *dk, *dv;
};

// p = e^(s - log_sum) in place, and ds = p (dp - delta) in place of dp.
template <class T>
void slopes(T* __restrict s, T* __restrict dp, std::int64_t n, T log_sum, T delta) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    s[i] = cpu::exp(s[i] - log_sum);
    dp[i] = s[i] * (dp[i] - delta);
  }
}

// A block of keys and values for the backward: keys as they are and transposed, both scaled.
template <class T>
struct BackwardBlock {
  std::int64_t c, columns;
  const T *keys, *keys_transposed, *values_transposed;
  bool first;  // of its piece: nothing is in dq yet
};

template <class T>
BackwardBlock<T> packed_block(const Job<T>& j, std::int64_t task, std::int64_t c,
                              std::int64_t columns, bool first) {
  const T* k = head_rows(j.k, task, j.heads, j.n, j.d, c);
  const T* v = head_rows(j.v, task, j.heads, j.n, j.e, c);
  const std::int64_t k_row = j.heads * j.d, v_row = j.heads * j.e;
  T* keys = packed_rows<PackedKeys>(k, k_row, columns, j.d);
  T* transposed = packed_columns<PackedKeysTransposed>(k, k_row, columns, j.d);
  multiply_by(keys, packed_size<T>(columns, j.d), j.scale);
  multiply_by(transposed, packed_size<T>(j.d, columns), j.scale);
  return {c,    columns, keys, transposed, packed_columns<PackedValues>(v, v_row, columns, j.e),
          first};
}

// Adds what queries [r, r + rows) and a block of keys have to do with each other: to dk and dv of
// the block, and to dq of the queries.
template <class T>
void add_gradients(const Job<T>& j, const Gradient<T>& g, std::int64_t task, std::int64_t r,
                   std::int64_t rows, const BackwardBlock<T>& b, T* dq) {
  const T* none = nullptr;
  const std::int64_t q_row = j.heads * j.d, v_row = j.heads * j.e;
  T* s = scratch<TileOfScores, T>(kTileRows * kPitch<T>);
  T* ds = scratch<TileOfSlopes, T>(kTileRows * kPitch<T>);
  const T* q = head_rows(j.q, task, j.heads, j.m, j.d, r);
  const T* dy = head_rows(g.dy, task, j.heads, j.m, j.e, r);
  multiply_block(rows, b.columns, j.d, q, q_row, b.keys_transposed, j.d * kPanel<T>, none, false, s,
                 kPitch<T>);
  multiply_block(rows, b.columns, j.e, dy, v_row, b.values_transposed, j.e * kPanel<T>, none, false,
                 ds, kPitch<T>);
  for (std::int64_t i = 0; i < rows; ++i)
    slopes(s + i * kPitch<T>, ds + i * kPitch<T>, b.columns, g.log_sum[task * j.m + r + i],
           g.delta[task * j.m + r + i]);
  const T* slopes_packed = packed_rows<PackedSlopes>(dy, v_row, rows, j.e);
  multiply_transposed_block(b.columns, j.e, rows, s, kPitch<T>, slopes_packed, rows * kPanel<T>,
                            r > 0, head_rows(g.dv, task, j.heads, j.n, j.e, b.c), v_row);
  const T* queries = packed_rows<PackedQueries>(q, q_row, rows, j.d);
  multiply_transposed_block(b.columns, j.d, rows, ds, kPitch<T>, queries, rows * kPanel<T>, r > 0,
                            head_rows(g.dk, task, j.heads, j.n, j.d, b.c), q_row);
  multiply_block(rows, j.d, b.columns, ds, kPitch<T>, b.keys, b.columns * kPanel<T>, none, !b.first,
                 head_rows(dq, task, j.heads, j.m, j.d, r), q_row);
}

// Keys [begin, end) of a head against all its queries.
template <class T>
void piece_gradients(const Job<T>& j, const Gradient<T>& g, std::int64_t task, std::int64_t begin,
                     std::int64_t end, T* dq) {
  for (std::int64_t c = begin; c < end; c += kTileColumns) {
    const std::int64_t columns = std::min(kTileColumns, end - c);
    const BackwardBlock<T> block = packed_block(j, task, c, columns, c == begin);
    for (std::int64_t r = 0; r < j.m; r += kTileRows)
      add_gradients(j, g, task, r, std::min(kTileRows, j.m - r), block, dq);
    for (std::int64_t i = 0; i < columns; ++i)
      multiply_by(head_rows(g.dk, task, j.heads, j.n, j.d, c + i), j.d, j.scale);
  }
}

template <class T>
T product_of(const T* a, const T* b, std::int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// delta [b, heads, m] = sum over a head's channels of dy y.
template <class T>
void sums_of_products(const Job<T>& j, const T* y, const T* dy, T* delta) {
  const std::int64_t grain = 16384 / std::max<std::int64_t>(1, j.e);
  parallel_each(j.b * j.heads * j.m, grain, [=, &j](std::int64_t i) {
    const std::int64_t task = i / j.m, row = i % j.m;
    delta[i] = product_of(head_rows(y, task, j.heads, j.m, j.e, row),
                          head_rows(dy, task, j.heads, j.m, j.e, row), j.e);
  });
}

template <class T>
Job<T> job_of(const Tensor& q, const Tensor& k, const Tensor& v, int heads, double scale) {
  return {attention_extents(q, k, v, heads), static_cast<T>(scale), q.data<T>(), k.data<T>(),
          v.data<T>()};
}

}  // namespace

AttentionResult CpuBackend::attention(const Tensor& q, const Tensor& k, const Tensor& v, int heads,
                                      double scale) {
  OpScope scope(costs::attention(q, k, v, heads));
  const AttentionExtents x = attention_extents(q, k, v, heads);
  if (x.empty()) return empty_attention(q, x);
  AttentionResult result{Tensor::empty({x.b, x.m, x.heads * x.e}, q.dtype()),
                         Tensor::empty({x.b, x.heads, x.m}, q.dtype())};
  // Rows are computed one like another, so how many make a task may depend on the threads.
  const std::int64_t share = x.b * x.heads * x.m / (std::int64_t{4} * num_threads());
  const std::int64_t rows = std::clamp(share / kTileRows * kTileRows, kTileRows, kTaskRows);
  const std::int64_t blocks = (x.m + rows - 1) / rows;
  dispatch_float(q.dtype(), "attention", [&]<class T>(T) {
    const Job<T> job = job_of<T>(q, k, v, heads, scale);
    T *y = result.y.data<T>(), *log_sum = result.log_sum.data<T>();
    parallel_tasks(x.b * x.heads * blocks, [&](std::int64_t i) {
      const std::int64_t row = i % blocks * rows;
      attend(job, i / blocks, row, std::min(rows, x.m - row), y, log_sum);
    });
  });
  return result;
}

AttentionGradients CpuBackend::attention_backward(const Tensor& q, const Tensor& k, const Tensor& v,
                                                  const Tensor& y, const Tensor& log_sum,
                                                  const Tensor& dy, int heads, double scale) {
  OpScope scope(costs::attention_backward(q, k, v, dy, heads));
  const AttentionExtents x = attention_extents(q, k, v, heads);
  if (x.empty()) return empty_attention_gradients(q, k, v);
  AttentionGradients g{Tensor::empty(q.shape(), q.dtype()), Tensor::empty(k.shape(), q.dtype()),
                       Tensor::empty(v.shape(), q.dtype())};
  const std::int64_t heads_in_all = x.b * x.heads;
  const std::int64_t pieces = std::clamp<std::int64_t>(
      std::min((kTasks + heads_in_all - 1) / heads_in_all, x.n / kPieceColumns), 1, kMostPieces);
  const Tensor partial = pieces > 1 ? Tensor::empty({pieces, q.numel()}, q.dtype()) : g.dq;
  const Tensor delta = Tensor::empty(log_sum.shape(), q.dtype());
  dispatch_float(q.dtype(), "attention_backward", [&]<class T>(T) {
    const Job<T> job = job_of<T>(q, k, v, heads, scale);
    sums_of_products(job, y.data<T>(), dy.data<T>(), delta.data<T>());
    const Gradient<T> all{dy.data<T>(), log_sum.data<T>(), delta.data<T>(), g.dk.data<T>(),
                          g.dv.data<T>()};
    parallel_tasks(heads_in_all * pieces, [&, dq = partial.data<T>()](std::int64_t i) {
      const std::int64_t piece = i % pieces;
      piece_gradients(job, all, i / pieces, x.n * piece / pieces, x.n * (piece + 1) / pieces,
                      dq + piece * q.numel());
    });
    if (pieces > 1) sum_pieces(partial.data<T>(), pieces, q.numel(), g.dq.data<T>());
  });
  return g;
}

}  // namespace nextgrad::cpu

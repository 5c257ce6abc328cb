#include "tensor/cpu/kit/gemm.h"

#include <algorithm>
#include <vector>

#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/scratch.h"
#include "tensor/threads.h"

namespace nextgrad::cpu {

namespace {

struct PackA;
struct PackB;
struct SumOfStep;
struct Partial;

constexpr std::int64_t kRowsPacked = 16;  // rows packed together
// Numbers of the pieces of a sum over K from which on they are a tensor, not a thread's scratch
// memory: small products in several threads would wait for the allocator.
constexpr std::int64_t kLargePartial = 131072;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// The register tile: Rows x (Vectors vectors) sums over k, then one store (of n columns). Element
// (i, p) of A is a[i * a_row + p * a_col].
template <class T, int Rows, int Vectors>
void tile(std::int64_t k, const T* a, std::int64_t a_row, std::int64_t a_col, const T* b,
          const T* bias, bool accumulate, T* c, std::int64_t ldc, std::int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[Rows][Vectors] = {};
  for (std::int64_t p = 0; p < k; ++p, b += kPanel<T>, a += a_col) {
    Vec<T> of_b[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) of_b[v] = load(b + v * L);
#pragma GCC unroll 12
    for (int i = 0; i < Rows; ++i) {
      const Vec<T> ai = splat(a[i * a_row]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sum[i][v] += ai * of_b[v];
    }
  }
  if (n == Vectors * L) {
    Vec<T> first[Vectors] = {};
    if (bias != nullptr)
      for (int v = 0; v < Vectors; ++v) first[v] = load(bias + v * L);
#pragma GCC unroll 12
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) {
        T* to = c + i * ldc + v * L;
        store(to, sum[i][v] + (accumulate ? load(to) : first[v]));
      }
    return;
  }
#pragma GCC unroll 12
  for (int i = 0; i < Rows; ++i) {
    T row[Vectors * L];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) store(row + v * L, sum[i][v]);
    for (std::int64_t j = 0; j < n; ++j)
      c[i * ldc + j] = row[j] + (accumulate ? c[i * ldc + j] : bias ? bias[j] : T{0});
  }
}

template <class T, int Rows = kRows>
void tile_of(std::int64_t rows, std::int64_t k, const T* a, std::int64_t a_row, std::int64_t a_col,
             const T* b, const T* bias, bool accumulate, T* c, std::int64_t ldc, std::int64_t n) {
  if (rows >= Rows && n > kLanes<T>)
    return tile<T, Rows, 2>(k, a, a_row, a_col, b, bias, accumulate, c, ldc, n);
  if (rows >= Rows)  // half a panel is enough
    return tile<T, Rows, 1>(k, a, a_row, a_col, b, bias, accumulate, c, ldc, n);
  if constexpr (Rows > 1)
    tile_of<T, Rows - 1>(rows, k, a, a_row, a_col, b, bias, accumulate, c, ldc, n);
}

// Panels [begin, end) of B [K,N]. Rows are taken kRowsPacked at a time, so that they are read from
// end to end while their cache lines are there.
template <class T>
void pack_panels(MatrixView<T> b, std::int64_t k, std::int64_t n, std::int64_t begin,
                 std::int64_t end, T* packed) {
  constexpr int P = kPanel<T>, L = kLanes<T>;
  for (std::int64_t p0 = 0; p0 < k; p0 += kRowsPacked) {
    const std::int64_t rows = std::min(kRowsPacked, k - p0);
    for (std::int64_t panel = begin; panel < end; ++panel) {
      const std::int64_t width = std::min<std::int64_t>(P, n - panel * P);
      const T* from = b.data + p0 * b.row + panel * P * b.col;
      T* out = packed + panel * P * k + p0 * P;
      if (b.col == 1 && width == P) {
        for (std::int64_t p = 0; p < rows; ++p, from += b.row, out += P) {
          store(out, load(from));
          store(out + L, load(from + L));
        }
      } else {
        if (width < P) std::fill_n(out, P * rows, T{0});
        for (std::int64_t j = 0; j < width; ++j)
          for (std::int64_t p = 0; p < rows; ++p) out[p * P + j] = from[p * b.row + j * b.col];
      }
    }
  }
}

// Columns [0, m) of A as groups of kRows, each contiguous over k: whole vectors are copied, whose
// ends the next row's overwrite; `readable` elements of each row may be read.
template <class T>
void pack_columns(const T* a, std::int64_t a_row, std::int64_t m, std::int64_t readable,
                  std::int64_t k, T* packed) {
  constexpr int L = kLanes<T>, kVectors = (kRows + L - 1) / L;
  for (std::int64_t p0 = 0; p0 < k; p0 += kRowsPacked) {
    const std::int64_t p1 = std::min(k, p0 + kRowsPacked);
    for (std::int64_t i = 0; i < m; i += kRows) {
      T* out = packed + i * k;
      const std::int64_t rows = std::min<std::int64_t>(kRows, m - i);
      // Not the last row of a group, whose copy would end in the next group.
      const std::int64_t whole = i + kVectors * L <= readable ? std::min(p1, k - 1) : p0;
      for (std::int64_t p = p0; p < whole; ++p)
        for (int v = 0; v < kVectors; ++v)
          store(out + p * kRows + v * L, load(a + p * a_row + i + v * L));
      for (std::int64_t p = whole; p < p1; ++p)
        for (std::int64_t r = 0; r < rows; ++r) out[p * kRows + r] = a[p * a_row + i + r];
    }
  }
}

// C = A B + bias for the rows of one L2 block; b is packed. K is cut evenly, so that no cut is
// short.
template <class T>
void multiply_rows(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t a_row,
                   const T* b, const T* bias, T* c, std::int64_t ldc) {
  const std::int64_t cuts = std::max<std::int64_t>(1, ceil_div(k, kDepth));
  for (std::int64_t cut = 0; cut < cuts; ++cut) {  // once if k is 0: C is the bias then
    const std::int64_t k0 = k * cut / cuts, k1 = k * (cut + 1) / cuts;
    multiply_block(m, n, k1 - k0, a + k0, a_row, b + k0 * kPanel<T>, k * kPanel<T>, bias, cut > 0,
                   c, ldc);
  }
}

// C (+)= A^T B over one block of k, both packed.
template <class T>
void multiply_packed(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, const T* b,
                     bool accumulate, T* c, std::int64_t ldc) {
  for (std::int64_t j = 0; j < n; j += kPanel<T>, b += k * kPanel<T>)
    for (std::int64_t i = 0; i < m; i += kRows)
      tile_of<T>(m - i, k, a + i * k, 1, kRows, b, nullptr, accumulate, c + i * ldc + j, ldc,
                 std::min<std::int64_t>(kPanel<T>, n - j));
}

// sum[j] = the column sums of `rows` rows.
template <class T>
void column_sums(const T* __restrict a, std::int64_t a_row, std::int64_t rows, std::int64_t m,
                 T* __restrict sum) {
  std::fill_n(sum, m, T{0});
  std::int64_t r = 0;
  for (; r + 4 <= rows; r += 4, a += 4 * a_row) {
#pragma omp simd
    for (std::int64_t j = 0; j < m; ++j)
      sum[j] += (a[j] + a[a_row + j]) + (a[2 * a_row + j] + a[3 * a_row + j]);
  }
  for (; r < rows; ++r, a += a_row) add_to(sum, a, m);
}

// How gemm_over_pixels() cuts its work: by the shapes alone, never by the threads.
struct PixelPieces {
  std::int64_t step;           // k of one packed block: A and B blocks stay in L2
  std::int64_t pieces;         // of K, each with a C of its own
  std::int64_t blocks, block;  // of columns of A
  PixelPieces(std::int64_t m, std::int64_t n, std::int64_t k) {
    const std::int64_t size = std::max<std::int64_t>(1, m * n);
    blocks = size > 65536 ? ceil_div(m, 256) : 1;
    block = ceil_div(ceil_div(m, blocks), kRows) * kRows;
    blocks = ceil_div(m, block);
    step = std::clamp<std::int64_t>(65536 / (block + n) / 8 * 8, 32, kDepth);
    pieces = std::clamp<std::int64_t>(kLargePartial / size, 4, 16);
    pieces = std::clamp<std::int64_t>(ceil_div(k, step), 1, pieces);
  }
};

}  // namespace

template <class T>
void pack(MatrixView<T> b, std::int64_t k, std::int64_t n, T* packed) {
  pack_panels(b, k, n, 0, ceil_div(n, kPanel<T>), packed);
}

template <class T>
void multiply_block(std::int64_t m, std::int64_t n, std::int64_t depth, const T* a,
                    std::int64_t a_row, const T* panels, std::int64_t panel_size, const T* bias,
                    bool accumulate, T* c, std::int64_t ldc) {
  for (std::int64_t j = 0; j < n; j += kPanel<T>, panels += panel_size)
    for (std::int64_t i = 0; i < m; i += kRows) {
      T* to = c + i * ldc + j;
      // The tile's lines of C are asked for before its sums begin.
      for (std::int64_t r = 0; r < std::min<std::int64_t>(kRows, m - i); ++r)
        __builtin_prefetch(to + r * ldc, 1);
      tile_of(m - i, depth, a + i * a_row, a_row, 1, panels, bias ? bias + j : nullptr, accumulate,
              to, ldc, std::min<std::int64_t>(kPanel<T>, n - j));
    }
}

template <class T>
void multiply_transposed_block(std::int64_t m, std::int64_t n, std::int64_t depth, const T* a,
                               std::int64_t a_row, const T* panels, std::int64_t panel_size,
                               bool accumulate, T* c, std::int64_t ldc) {
  for (std::int64_t j = 0; j < n; j += kPanel<T>, panels += panel_size)
    for (std::int64_t i = 0; i < m; i += kRows)
      tile_of<T>(m - i, depth, a + i, 1, a_row, panels, nullptr, accumulate, c + i * ldc + j, ldc,
                 std::min<std::int64_t>(kPanel<T>, n - j));
}

template <class T>
Tensor packed(MatrixView<T> b, std::int64_t k, std::int64_t n) {
  Tensor panels = Tensor::empty({packed_size<T>(k, n)}, dtype_of<T>);
  parallel_for(ceil_div(n, kPanel<T>), 32768 / std::max<std::int64_t>(1, k * kPanel<T>),
               [&, to = panels.data<T>()](std::int64_t begin, std::int64_t end) {
                 pack_panels(b, k, n, begin, end, to);
               });
  return panels;
}

template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const RowBlocks<T>& a, const T* packed_b,
          const T* bias, T* c, std::int64_t ldc, const RowsDone& finish) {
  if (m == 0 || n == 0) return;
  // Rows are computed one like another, so how many make a block may depend on the threads: about
  // ten blocks a thread, for an even end.
  const std::int64_t share = m / (std::int64_t{10} * num_threads()) / kRows * kRows;
  const std::int64_t block = std::clamp(share, std::int64_t{2 * kRows}, kRowBlock / kRows * kRows);
  const auto run = [&](std::int64_t task) {
    const std::int64_t first = task * block, rows = std::min(block, m - first);
    const MatrixView<T> from = a(first, rows);
    multiply_rows(rows, n, k, from.data, from.row, packed_b, bias, c + first * ldc, ldc);
    if (finish) finish(first, rows);
  };
  const std::int64_t tasks = ceil_div(m, block);
  if (m * n * k < 50000) {
    for (std::int64_t task = 0; task < tasks; ++task) run(task);
  } else {
    parallel_tasks(tasks, run);
  }
}

// One piece of K of gemm_over_pixels(): rows [i0, i0 + rows) of its own C, and of its sums. Inlined
// into a thread's loop over pieces, GCC 12's register tile takes half as long again.
template <class T>
[[gnu::noinline]] void multiply_piece(const PixelPieces& p, std::int64_t m, std::int64_t n,
                                      std::int64_t begin, std::int64_t end, std::int64_t i0,
                                      const RowBlocks<T>& a, const RowBlocks<T>& b, T* c,
                                      double* sums) {
  const std::int64_t rows = std::min(p.block, m - i0);
  T* packed_a = scratch<PackA, T>(p.block * p.step + 2 * kLanes<T>);
  T* packed_b = scratch<PackB, T>(packed_size<T>(p.step, n));
  if (begin == end) std::fill_n(c, rows * n, T{0});
  for (std::int64_t k0 = begin; k0 < end; k0 += p.step) {
    const std::int64_t depth = std::min(p.step, end - k0);
    const MatrixView<T> from = a(k0, depth);
    pack_columns(from.data + i0, from.row, rows, m - i0, depth, packed_a);
    if (sums != nullptr) {
      T* step = scratch<SumOfStep, T>(p.block);
      column_sums(from.data + i0, from.row, depth, rows, step);
      add_to(sums, step, rows);
    }
    pack_panels(b(k0, depth), depth, n, 0, ceil_div(n, kPanel<T>), packed_b);
    multiply_packed(rows, n, depth, packed_a, packed_b, k0 > begin, c, n);
  }
}

template <class T>
void sum_pieces(const T* partial, std::int64_t pieces, std::int64_t n, T* to) {
  parallel_for(n, 4096, [&](std::int64_t begin, std::int64_t end) {
    std::copy(partial + begin, partial + end, to + begin);
    for (std::int64_t piece = 1; piece < pieces; ++piece)
      add_to(to + begin, partial + piece * n + begin, end - begin);
  });
}

template <class T>
void gemm_over_pixels(std::int64_t m, std::int64_t n, std::int64_t k, const RowBlocks<T>& a,
                      const RowBlocks<T>& b, T* c, T* sums) {
  if (m == 0) return;
  const PixelPieces p(m, n, k);
  const std::int64_t size = p.pieces > 1 ? p.pieces * m * n : 0;
  const bool large = size > kLargePartial;
  const Tensor buffer = large ? Tensor::empty({size}, dtype_of<T>) : Tensor();
  T* partial = size == 0 ? c : large ? buffer.data<T>() : scratch<Partial, T>(size);
  std::vector<double> partial_sums(sums ? p.pieces * m : 0);
  parallel_tasks(p.pieces * p.blocks, [&](std::int64_t task) {
    const std::int64_t piece = task / p.blocks, i0 = task % p.blocks * p.block;
    multiply_piece(p, m, n, k * piece / p.pieces, k * (piece + 1) / p.pieces, i0, a, b,
                   partial + (piece * m + i0) * n,
                   sums ? partial_sums.data() + piece * m + i0 : nullptr);
  });
  if (p.pieces > 1) sum_pieces(partial, p.pieces, m * n, c);
  if (sums == nullptr) return;
  for (std::int64_t piece = 1; piece < p.pieces; ++piece)
    add_to(partial_sums.data(), partial_sums.data() + piece * m, m);
  std::copy_n(partial_sums.data(), m, sums);
}

#define NEXTGRAD_INSTANTIATE(T)                                                                    \
  template void pack<T>(MatrixView<T>, std::int64_t, std::int64_t, T*);                            \
  template void multiply_block<T>(std::int64_t, std::int64_t, std::int64_t, const T*,              \
                                  std::int64_t, const T*, std::int64_t, const T*, bool, T*,        \
                                  std::int64_t);                                                   \
  template void multiply_transposed_block<T>(std::int64_t, std::int64_t, std::int64_t, const T*,   \
                                             std::int64_t, const T*, std::int64_t, bool, T*,       \
                                             std::int64_t);                                        \
  template void sum_pieces<T>(const T*, std::int64_t, std::int64_t, T*);                           \
  template void gemm<T>(std::int64_t, std::int64_t, std::int64_t, const RowBlocks<T>&, const T*,   \
                        const T*, T*, std::int64_t, const RowsDone&);                              \
  template Tensor packed<T>(MatrixView<T>, std::int64_t, std::int64_t);                            \
  template void gemm_over_pixels<T>(std::int64_t, std::int64_t, std::int64_t, const RowBlocks<T>&, \
                                    const RowBlocks<T>&, T*, T*);
NEXTGRAD_INSTANTIATE(float)
NEXTGRAD_INSTANTIATE(double)
#undef NEXTGRAD_INSTANTIATE

}  // namespace nextgrad::cpu

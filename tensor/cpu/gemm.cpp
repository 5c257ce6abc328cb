#include "tensor/cpu/gemm.h"

#include <algorithm>

#include "tensor/cpu/parallel.h"
#include "tensor/cpu/scratch.h"
#include "tensor/tensor.h"

namespace nextgrad::cpu {

namespace {

struct PackA;
struct PackB;

// The register tile: Rows x kPanel sums over k, then one store (of n <= kPanel columns).
template <class T, int Rows>
void tile(std::int64_t k, const T* a, std::int64_t a_row, std::int64_t a_col, const T* b,
          const T* bias, bool accumulate, T* c, std::int64_t ldc, std::int64_t n) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[Rows][2] = {};
  for (std::int64_t p = 0; p < k; ++p, b += 2 * L, a += a_col) {
    const Vec<T> b0 = load(b), b1 = load(b + L);
#pragma GCC unroll 12
    for (int i = 0; i < Rows; ++i) {
      const Vec<T> ai = splat(a[i * a_row]);
      sum[i][0] += ai * b0;
      sum[i][1] += ai * b1;
    }
  }
  if (n == 2 * L) {
    const Vec<T> c0 = bias ? load(bias) : Vec<T>{}, c1 = bias ? load(bias + L) : Vec<T>{};
#pragma GCC unroll 12
    for (int i = 0; i < Rows; ++i) {
      T* row = c + i * ldc;
      store(row, sum[i][0] + (accumulate ? load(row) : c0));
      store(row + L, sum[i][1] + (accumulate ? load(row + L) : c1));
    }
    return;
  }
#pragma GCC unroll 12
  for (int i = 0; i < Rows; ++i) {
    T row[2 * L];
    store(row, sum[i][0]);
    store(row + L, sum[i][1]);
    for (std::int64_t j = 0; j < n; ++j)
      c[i * ldc + j] = row[j] + (accumulate ? c[i * ldc + j] : bias ? bias[j] : T{0});
  }
}

template <class T, int Rows>
void tile_of(int rows, std::int64_t k, const T* a, std::int64_t a_row, std::int64_t a_col,
             const T* b, const T* bias, bool accumulate, T* c, std::int64_t ldc, std::int64_t n) {
  if (rows == Rows) return tile<T, Rows>(k, a, a_row, a_col, b, bias, accumulate, c, ldc, n);
  if constexpr (Rows > 1)
    tile_of<T, Rows - 1>(rows, k, a, a_row, a_col, b, bias, accumulate, c, ldc, n);
}

// Rows [k0, k1) of A^T as groups of kRows columns, contiguous over k.
template <class T>
void pack_transposed(const T* a, std::int64_t a_row, std::int64_t m, std::int64_t k0,
                     std::int64_t k1, T* packed) {
  for (std::int64_t i = 0; i < m; i += kRows) {
    const int rows = static_cast<int>(std::min<std::int64_t>(kRows, m - i));
    for (std::int64_t k = k0; k < k1; ++k, packed += kRows)
      for (int r = 0; r < rows; ++r) packed[r] = a[k * a_row + i + r];
  }
}

// c += packed A^T x packed B over one block of k.
template <class T>
void multiply_packed(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, const T* b, T* c,
                     bool accumulate) {
  for (std::int64_t j = 0; j < n; j += kPanel<T>, b += k * kPanel<T>)
    for (std::int64_t i = 0; i < m; i += kRows)
      tile_of<T, kRows>(static_cast<int>(std::min<std::int64_t>(kRows, m - i)), k, a + i * k, 1,
                        kRows, b, nullptr, accumulate, c + i * n + j, n,
                        std::min<std::int64_t>(kPanel<T>, n - j));
}

}  // namespace

template <class T>
void pack_panels(const T* b, std::int64_t row_stride, std::int64_t col_stride, std::int64_t k,
                 std::int64_t n, T* packed, std::int64_t panel_begin, std::int64_t panel_end) {
  constexpr int P = kPanel<T>;
  for (std::int64_t panel = panel_begin; panel < panel_end; ++panel) {
    const std::int64_t j0 = panel * P, width = std::min<std::int64_t>(P, n - j0);
    T* out = packed + panel * P * k;
    if (width < P) std::fill_n(out, P * k, T{0});
    if (col_stride == 1) {
      for (std::int64_t p = 0; p < k; ++p) std::copy_n(b + p * row_stride + j0, width, out + p * P);
    } else {
      for (std::int64_t j = 0; j < width; ++j)
        for (std::int64_t p = 0; p < k; ++p)
          out[p * P + j] = b[p * row_stride + (j0 + j) * col_stride];
    }
  }
}

template <class T>
void gemm_rows(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t a_row,
               std::int64_t a_col, const T* packed_b, const T* bias, bool accumulate, T* c,
               std::int64_t ldc) {
  for (std::int64_t j = 0; j < n; j += kPanel<T>, packed_b += k * kPanel<T>)
    for (std::int64_t i = 0; i < m; i += kRows)
      tile_of<T, kRows>(static_cast<int>(std::min<std::int64_t>(kRows, m - i)), k, a + i * a_row,
                        a_row, a_col, packed_b, bias ? bias + j : nullptr, accumulate,
                        c + i * ldc + j, ldc, std::min<std::int64_t>(kPanel<T>, n - j));
}

template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b,
          const T* bias, T* c, std::int64_t ldc,
          const std::function<void(std::int64_t, std::int64_t)>& finish) {
  if (m == 0 || n == 0) return;
  // Long sums of a transposed A: strided broadcasts would miss the cache, so both sides are packed.
  if (a.col != 1 && a.row == 1 && bias == nullptr && finish == nullptr && ldc == n && k >= 64) {
    return gemm_over_pixels<T>(
        m, n, k, a.data, a.col,
        [&](std::int64_t k0, std::int64_t k1, T* packed) {
          const std::int64_t panels = (n + kPanel<T> - 1) / kPanel<T>;
          pack_panels(b.data + k0 * b.row, b.row, b.col, k1 - k0, n, packed, 0, panels);
        },
        c);
  }
  const Tensor buffer = Tensor::empty({packed_size<T>(k, n)}, dtype_of<T>);
  T* packed = buffer.data<T>();
  const std::int64_t panels = (n + kPanel<T> - 1) / kPanel<T>;
  parallel_for(panels, std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, k * kPanel<T>)),
               [&](std::int64_t begin, std::int64_t end) {
                 pack_panels(b.data, b.row, b.col, k, n, packed, begin, end);
               });
  const std::int64_t blocks = (m + kRowBlock - 1) / kRowBlock;
  const std::int64_t grain =
      std::max<std::int64_t>(1, 100000 / (kRowBlock * n * std::max<std::int64_t>(1, k)));
  parallel_for(blocks, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t i = block * kRowBlock, rows = std::min(kRowBlock, m - i);
      gemm_rows(rows, n, k, a.data + i * a.row, a.row, a.col, packed, bias, false, c + i * ldc,
                ldc);
      if (finish) finish(i, rows);
    }
  });
}

template <class T>
void gemm_over_pixels(std::int64_t m, std::int64_t n, std::int64_t k, const T* a,
                      std::int64_t a_row,
                      const std::function<void(std::int64_t, std::int64_t, T*)>& fill_b, T* c) {
  constexpr std::int64_t kStep = 256;  // k of one packed block: A and B blocks stay in L2
  const std::int64_t steps = (k + kStep - 1) / kStep;
  // Pieces depend on the shapes alone: at most 16, and at most 32 MiB of partial sums.
  const std::int64_t fit = std::max<std::int64_t>(
      1, (std::int64_t{32} << 20) / (m * n * static_cast<std::int64_t>(sizeof(T))));
  const std::int64_t pieces = std::max<std::int64_t>(1, std::min({steps, std::int64_t{16}, fit}));
  const Tensor buffer = Tensor::empty({pieces > 1 ? pieces * m * n : 0}, dtype_of<T>);
  T* partial = pieces > 1 ? buffer.data<T>() : c;
  parallel_tasks(pieces, [&](std::int64_t piece) {
    T* out = partial + piece * m * n;
    const std::int64_t first = steps * piece / pieces, last = steps * (piece + 1) / pieces;
    for (std::int64_t step = first; step < last; ++step) {
      const std::int64_t k0 = step * kStep, k1 = std::min(k, k0 + kStep);
      T* packed_a = scratch<PackA, T>((m + kRows - 1) / kRows * kRows * kStep);
      T* packed_b = scratch<PackB, T>(packed_size<T>(kStep, n));
      pack_transposed(a, a_row, m, k0, k1, packed_a);
      fill_b(k0, k1, packed_b);
      multiply_packed(m, n, k1 - k0, packed_a, packed_b, out, step > first);
    }
  });
  if (pieces == 1) return;
  parallel_for(m * n, 4096, [&](std::int64_t begin, std::int64_t end) {
    std::copy(partial + begin, partial + end, c + begin);
    for (std::int64_t piece = 1; piece < pieces; ++piece)
      add_to(c + begin, partial + piece * m * n + begin, end - begin);
  });
}

#define NEXTGRAD_INSTANTIATE(T)                                                                  \
  template void pack_panels<T>(const T*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, \
                               T*, std::int64_t, std::int64_t);                                  \
  template void gemm_rows<T>(std::int64_t, std::int64_t, std::int64_t, const T*, std::int64_t,   \
                             std::int64_t, const T*, const T*, bool, T*, std::int64_t);          \
  template void gemm<T>(std::int64_t, std::int64_t, std::int64_t, MatrixView<T>, MatrixView<T>,  \
                        const T*, T*, std::int64_t,                                              \
                        const std::function<void(std::int64_t, std::int64_t)>&);                 \
  template void gemm_over_pixels<T>(                                                             \
      std::int64_t, std::int64_t, std::int64_t, const T*, std::int64_t,                          \
      const std::function<void(std::int64_t, std::int64_t, T*)>&, T*);
NEXTGRAD_INSTANTIATE(float)
NEXTGRAD_INSTANTIATE(double)
#undef NEXTGRAD_INSTANTIATE

}  // namespace nextgrad::cpu

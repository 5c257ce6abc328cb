// Matrix product kernels, shared by matmul, linear and the convolutions.
//
//   C [M,N]  =  A [M,K]  x  B [K,N]
//
// B (mostly a weight) is packed once into panels of kPanel columns, each panel contiguous over K:
//
//        kPanel
//       +------+------+--
//     K |panel0|panel1|        a register tile of kRows x kPanel sums runs down one panel and
//       |      |      |        along kRows rows of A, which are read where they are
//       +------+------+--
//
// A tile does kRows * kPanel multiply-adds for kRows + kPanel loads; 96 rows of A stay in L2 while
// all panels pass over them. Sums always run over K in the same order, whatever the threads.
#pragma once

#include <cstdint>
#include <functional>

#include "tensor/cpu/simd.h"
#include "tensor/tensor.h"

namespace nextgrad::cpu {

template <class T>
inline constexpr int kPanel = 2 * kLanes<T>;                   // columns of a register tile
inline constexpr int kRows = kVectorRegisters == 32 ? 12 : 6;  // rows of a register tile
inline constexpr std::int64_t kRowBlock = 96;                  // rows of A per L2 block

// Elements of B [K,N] packed: the last panel is padded with zeros.
template <class T>
std::int64_t packed_size(std::int64_t k, std::int64_t n) {
  return (n + kPanel<T> - 1) / kPanel<T> * kPanel<T> * k;
}

// Packs panels [panel_begin, panel_end) of B; element (k, n) of B is b[k * row_stride + n *
// col_stride].
template <class T>
void pack_panels(const T* b, std::int64_t row_stride, std::int64_t col_stride, std::int64_t k,
                 std::int64_t n, T* packed, std::int64_t panel_begin, std::int64_t panel_end);

// C (+)= A B + bias for a few rows, one thread; element (i, k) of A is a[i * a_row + k * a_col].
template <class T>
void gemm_rows(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t a_row,
               std::int64_t a_col, const T* packed_b, const T* bias, bool accumulate, T* c,
               std::int64_t ldc);

// A matrix by address and strides: element (i, j) is data[i * row + j * col].
template <class T>
struct MatrixView {
  const T* data;
  std::int64_t row, col;
};

// C [M,N] = A B + bias (bias may be null), all threads; `finish(c_row, first_row, rows)` is called
// for each finished block of rows while it is still in cache (null: nothing).
template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixView<T> a, MatrixView<T> b,
          const T* bias, T* c, std::int64_t ldc,
          const std::function<void(std::int64_t first_row, std::int64_t rows)>& finish = nullptr);

// C [M,N] = sum over k of A(k)^T B(k), for few rows and columns and very many k (weight gradients):
// K is cut into a fixed number of pieces, summed in order. fill_b(k0, k1, packed) writes rows
// [k0, k1) of B as panels. A^T is a[k * M + i].
template <class T>
void gemm_over_pixels(
    std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t a_row,
    const std::function<void(std::int64_t k0, std::int64_t k1, T* packed)>& fill_b, T* c);

// Column sums of dy [..., C] -> [C], a bias gradient (matmul.cpp).
Tensor sum_columns(const Tensor& dy);

}  // namespace nextgrad::cpu

// Matrix product kernels, shared by matmul, linear and the convolutions.
//
//   C [M,N]  =  A [M,K]  x  B [K,N]
//
// B (mostly a weight) is packed into panels of kPanel columns, each panel contiguous over K:
//
//        kPanel
//       +------+------+--
//     K |panel0|panel1|        a register tile of kRows x kPanel sums runs down one panel and
//       |      |      |        along kRows rows of A, which are read where they are
//       +------+------+--
//
// A tile does kRows * kPanel multiply-adds for kRows + kPanel loads. kDepth rows of a panel stay in
// L1 while kRowBlock rows of A, in L2, pass over them. Sums always run over K in the same order,
// whatever the threads.
//
// A comes in blocks of rows from a function, which may point into a tensor or make the rows in
// scratch memory (patches of a convolution, an activation): what a product reads or writes is
// changed while it is in L2 and never travels to memory for it.
#pragma once

#include <cstdint>
#include <functional>

#include "tensor/cpu/kit/simd.h"
#include "tensor/derived.h"
#include "tensor/tensor.h"

namespace nextgrad::cpu {

template <class T>
inline constexpr int kPanel = 2 * kLanes<T>;                   // columns of a register tile
inline constexpr int kRows = kVectorRegisters == 32 ? 12 : 6;  // rows of a register tile
inline constexpr std::int64_t kRowBlock = 96;                  // most rows of A in an L2 block
inline constexpr std::int64_t kDepth = 320;                    // most rows of a panel in L1

// A matrix by address and strides: element (i, j) is data[i * row + j * col].
template <class T>
struct MatrixView {
  const T* data;
  std::int64_t row, col;
};

// Gives rows [first, first + rows) of a matrix, at most kRowBlock of them for gemm() and kDepth for
// gemm_over_pixels(). What it points to must stay until this thread asks again.
template <class T>
using RowBlocks = std::function<MatrixView<T>(std::int64_t first, std::int64_t rows)>;

// Blocks that lie in the matrix itself.
template <class T>
RowBlocks<T> rows_of(MatrixView<T> m) {
  return [m](std::int64_t first, std::int64_t) {
    return MatrixView<T>{m.data + first * m.row, m.row, m.col};
  };
}

// Called for each finished block of rows of C while it is still in cache.
using RowsDone = std::function<void(std::int64_t first, std::int64_t rows)>;

// C [M,N] = A B + bias (bias [N] may be null), all threads. Rows of A must be contiguous (col 1), B
// is packed.
template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const RowBlocks<T>& a, const T* packed_b,
          const T* bias, T* c, std::int64_t ldc, const RowsDone& finish = nullptr);

// B [K,N] as panels, by all threads.
template <class T>
Tensor packed(MatrixView<T> b, std::int64_t k, std::int64_t n);
// W^T, for x W^T, and W, for dy W, of a weight [O,I]: kept while it stays as it is.
template <class T>
Tensor packed_transpose(const Tensor& weight) {
  const std::int64_t o = weight.dim(0), i = weight.dim(1);
  return derived_one("packed_transpose", {weight}, Keep::from_third_call, [&] {
    return packed<T>({weight.data<T>(), 1, i}, i, o);
  });
}
template <class T>
Tensor packed_weight(const Tensor& weight) {
  const std::int64_t o = weight.dim(0), i = weight.dim(1);
  return derived_one("packed_weight", {weight}, Keep::from_third_call, [&] {
    return packed<T>({weight.data<T>(), i, 1}, o, i);
  });
}

// C [M,N] = A^T B, A [K,M] and B [K,N] given by blocks of rows, for few rows and columns and very
// many k (weight gradients), all threads: K is cut into a fixed number of pieces, summed in order.
// Rows of A must be contiguous. `sums` [M], if not null, receives the column sums of A.
template <class T>
void gemm_over_pixels(std::int64_t m, std::int64_t n, std::int64_t k, const RowBlocks<T>& a,
                      const RowBlocks<T>& b, T* c, T* sums = nullptr);

// to = the sum of `pieces` arrays of n elements, in order, all threads: for sums over K that were
// cut as there.
template <class T>
void sum_pieces(const T* partial, std::int64_t pieces, std::int64_t n, T* to);

// The parts of gemm(), for kernels that chain products inside a cache. pack() writes B [K,N] as
// panels, packed_size() numbers; multiply_block() computes C (+)= A B [+ bias] on one thread for
// rows k0 to k0 + depth of B: `panels` is the packed B plus k0 * kPanel, panel_size K * kPanel, and
// columns begin at a multiple of kPanel if `panels` begins at that panel.
template <class T>
std::int64_t packed_size(std::int64_t k, std::int64_t n) {
  return (n + kPanel<T> - 1) / kPanel<T> * kPanel<T> * k;
}
template <class T>
void pack(MatrixView<T> b, std::int64_t k, std::int64_t n, T* packed);
template <class T>
void multiply_block(std::int64_t m, std::int64_t n, std::int64_t depth, const T* a,
                    std::int64_t a_row, const T* panels, std::int64_t panel_size, const T* bias,
                    bool accumulate, T* c, std::int64_t ldc);
// The same with A^T, A [depth, M].
template <class T>
void multiply_transposed_block(std::int64_t m, std::int64_t n, std::int64_t depth, const T* a,
                               std::int64_t a_row, const T* panels, std::int64_t panel_size,
                               bool accumulate, T* c, std::int64_t ldc);

}  // namespace nextgrad::cpu

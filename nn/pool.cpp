#include "nn/pool.h"

#include "autograd/matmul.h"
#include "autograd/shape_ops.h"

namespace nextgrad {

namespace {

// A [1,to,from] whose product with `from` rows is their `to` means. Filled where x lies: nothing is
// copied from the host, which a captured step could not do.
Variable means(std::int64_t from, std::int64_t to, const Variable& x) {
  const Tensor matrix = Tensor::zeros({1, to, from}, x.dtype(), x.device());
  for (std::int64_t i = 0; i < to; ++i) {
    const std::int64_t begin = i * from / to, end = ((i + 1) * from + to - 1) / to;
    Tensor row = matrix.slice(1, i, i + 1).slice(2, begin, end);
    row.fill_(1 / static_cast<double>(end - begin));
  }
  return Variable(matrix);
}

}  // namespace

Variable adaptive_average_pool(const Variable& in, std::int64_t h, std::int64_t w) {
  check(in.ndim() == 4 && in.numel() > 0 && h > 0 && w > 0,
        "adaptive_average_pool: wants [N,H,W,C] and a size to pool to, got {} to {}x{}", in.shape(),
        h, w);
  const std::int64_t n = in.dim(0), height = in.dim(1), width = in.dim(2), channels = in.dim(3);
  // The mean of many needs more digits than bf16 has.
  const Variable x = cast(in, parameter_dtype(in.dtype()));
  const Variable rows = matmul(means(height, h, x), reshape(x, {n, height, width * channels}));
  const Variable pooled = matmul(means(width, w, x), reshape(rows, {n * h, width, channels}));
  return cast(reshape(pooled, {n, h, w, channels}), in.dtype());
}

}  // namespace nextgrad

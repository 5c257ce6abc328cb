#include "autograd/linalg.h"

#include <Eigen/LU>

#include "autograd/arithmetic.h"
#include "autograd/reduce.h"
#include "tensor/ops.h"

namespace nextgrad {

// Y = A^-1: dA = -Y^T dY Y^T
Variable inverse(const Variable& matrices) {
  const Shape& shape = matrices.shape();
  check(shape.size() == 3 && shape[1] == shape[2], "inverse: wants [B,R,R], got {}", shape);
  const std::int64_t r = shape[1];
  std::vector<double> numbers = matrices.value().to_vector<double>();
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    // By columns, that is transposed, as its inverse is then too.
    Eigen::Map<Eigen::MatrixXd> matrix(numbers.data() + b * r * r, r, r);
    const Eigen::PartialPivLU<Eigen::MatrixXd> lu(matrix);
    const auto pivots = lu.matrixLU().diagonal().array();
    check(pivots.isFinite().all() && (pivots != 0).all(), "inverse: the {}x{} matrix is singular",
          r, r);
    matrix = lu.inverse();
  }
  const Tensor& like = matrices.value();
  const Tensor y = Tensor::from(numbers, shape).to(like.dtype()).to(like.device());
  return record("inverse", y, {matrices}, [y = Saved(y)](const Tensor& dy) -> std::vector<Tensor> {
    return {-matmul(matmul(y.get(), dy, true), y.get(), false, true)};
  });
}

Variable normalize(const Variable& x, int axis, double eps) {
  // max(norm, eps) as sqrt(max(norm^2, eps^2)): its derivative exists at 0 too.
  return x / sqrt(clamp_min(sum(square(x), {axis}, true), eps * eps));
}

}  // namespace nextgrad

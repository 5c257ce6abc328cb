#include <Eigen/Core>

#include "apps/commands/eigen_product.h"

namespace {

template <class T>
void multiply(const nextgrad::EigenProduct& p) {
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const Matrix> a(static_cast<const T*>(p.a), p.m, p.k);
  const Eigen::Map<const Matrix> b(static_cast<const T*>(p.b), p.n, p.k);
  Eigen::Map<Matrix>(static_cast<T*>(p.c), p.m, p.n).noalias() = a * b.transpose();
}

}  // namespace

extern "C" void NEXTGRAD_EIGEN(const nextgrad::EigenProduct& p) {
  Eigen::setNbThreads(p.threads);
  if (p.doubles)
    multiply<double>(p);
  else
    multiply<float>(p);
}

#include "nn/decomposition.h"

#include "autograd/arithmetic.h"
#include "autograd/linalg.h"
#include "autograd/matmul.h"
#include "autograd/nmf.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "nn/observer.h"
#include "nn/random.h"
#include "tensor/ops.h"

namespace nextgrad {

using Kind = DecompositionOptions::Kind;
using Gradient = DecompositionOptions::Gradient;

namespace {

constexpr double kEps = 1e-6;  // of the published code, in every quotient, as in tensor/nmf.cpp
// Of the bases in evaluation: any fixed number would do.
constexpr RandomKey kEvaluationKey{.seed = 0x68616d627572676eu};

// Non-negative uniform for nmf, normal directions for the others; columns of length 1.
Tensor random_bases(Kind kind, const Shape& shape, DType dtype, Backend& backend,
                    const RandomKey& key) {
  const Tensor t = kind == Kind::nmf ? backend.random_uniform(shape, dtype, key)
                                     : backend.random_normal(shape, dtype, key);
  return t / sqrt(sum(square(t), {1}));
}

// Coefficients that sum to 1 over the N points, for each of the R bases.
Variable normalize_points(const Variable& coef) {
  return coef / (sum(coef, {1}, true) + kEps);
}

}  // namespace

MatrixDecomposition::MatrixDecomposition(const DecompositionOptions& options) : options_(options) {
  check(options_.groups >= 1 && options_.rank >= 1 && options_.train_steps >= 0 &&
            options_.eval_steps >= 0,
        "matrix decomposition: {} groups and rank {} must be positive", options_.groups,
        options_.rank);
  if (options_.inv_t == 0) options_.inv_t = options_.kind == Kind::nmf ? 1 : 100;
}

Variable MatrixDecomposition::rows(const Variable& x) const {
  const std::int64_t b = x.dim(0), pixels = x.dim(1) * x.dim(2), s = options_.groups;
  check(x.dim(3) % s == 0, "matrix decomposition: {} groups must divide {} channels", s, x.dim(3));
  const std::int64_t channels = x.dim(3) / s;
  const Variable split = reshape(x, {b, pixels, s, channels});
  if (options_.spatial) {
    if (s == 1) return reshape(split, {b, pixels, channels});
    return reshape(permute(split, {0, 2, 1, 3}), {b * s, pixels, channels});
  }
  return reshape(permute(split, {0, 2, 3, 1}), {b * s, channels, pixels});
}

Variable MatrixDecomposition::image(const Variable& rows, const Shape& shape) const {
  const std::int64_t b = shape[0], pixels = shape[1] * shape[2], s = options_.groups;
  const std::int64_t channels = shape[3] / s;
  if (options_.spatial) {
    if (s == 1) return reshape(rows, shape);
    return reshape(permute(reshape(rows, {b, s, pixels, channels}), {0, 2, 1, 3}), shape);
  }
  return reshape(permute(reshape(rows, {b, s, channels, pixels}), {0, 3, 1, 2}), shape);
}

Variable MatrixDecomposition::initial_bases(const Variable& rows) const {
  const std::int64_t batch = rows.dim(0), s = options_.groups;
  const DType dtype = parameter_dtype(rows.dtype());
  const Shape shape{batch, rows.dim(2), options_.rank};
  if (fixed_.defined()) {
    check(fixed_.shape() == shape, "matrix decomposition: given bases are {}, needed {}",
          fixed_.shape(), shape);
    return Variable(fixed_.to(dtype));
  }
  const auto random = [&](const Shape& of, const RandomKey& key) {
    return random_bases(options_.kind, of, dtype, rows.backend(), key);
  };
  if (training()) return Variable(draw_share(shape, random));
  const Tensor bases = random({s, shape[1], shape[2]}, kEvaluationKey);
  return Variable(
      bases.unsqueeze(0).expand({batch / s, s, shape[1], shape[2]}).contiguous().reshape(shape));
}

MatrixDecomposition::Factors MatrixDecomposition::step(const Variable& rows,
                                                       const Factors& f) const {
  // Soft assignment of every point to the bases by angle, then each basis is its points' mean.
  const bool vq = options_.kind == Kind::vq;
  const Variable directions = vq ? normalize(f.bases, 1, kEps) : f.bases;
  const Variable cosine = matmul(normalize(rows, 2), directions);
  const Variable coef = normalize_points(softmax(cosine * options_.inv_t));
  const Variable means = matmul(rows, coef, true);
  return {vq ? means : normalize(means, 1, kEps), coef};
}

MatrixDecomposition::Factors MatrixDecomposition::iterate(const Variable& rows,
                                                          const Variable& bases) const {
  Factors f{bases, softmax(matmul(rows, bases) * options_.inv_t)};
  for (int i = 0; i < steps(); ++i) f = step(rows, f);
  return f;
}

Variable MatrixDecomposition::coefficients(const Variable& rows, const Factors& f) const {
  if (options_.kind == Kind::vq) {
    // The published code holds the points' lengths constant here; unrolled differentiates all.
    const Variable lengths = sqrt(sum(square(rows), {2}, true));
    const bool constant = options_.gradient == Gradient::one_step;
    const Variable points = rows / ((constant ? lengths.detach() : lengths) + kEps);
    return softmax(matmul(points, normalize(f.bases, 1, kEps)) * options_.inv_t);
  }
  // Ridge regression of the points on the bases: X^T B (B^T B + beta I)^-1.
  const std::int64_t r = options_.rank;
  std::vector<double> eye(static_cast<std::size_t>(r * r), 0.0);
  for (std::int64_t i = 0; i < r; ++i) eye[static_cast<std::size_t>(i * (r + 1))] = options_.beta;
  const Tensor ridge = Tensor::from(eye, {1, r, r}).to(rows.dtype()).to(rows.device());
  const Variable gram = matmul(f.bases, f.bases, true) + Variable(ridge);
  return matmul(matmul(rows, f.bases), inverse(gram));
}

Variable MatrixDecomposition::factored(const Variable& x) const {
  const Variable points = rows(x);
  Tensor coef;
  const Variable y = nmf(points, initial_bases(points).value(), {steps(), options_.inv_t},
                         options_.gradient == Gradient::one_step, &coef);
  Observer::tell(*this, "coefficients", Variable(coef));
  return image(y, x.shape());
}

Variable MatrixDecomposition::forward(Variable image_in) const {
  check(image_in.ndim() == 4, "matrix decomposition: wants [N,H,W,C], got {}", image_in.shape());
  if (options_.kind == Kind::nmf) return factored(image_in);
  // Quotients of sums over all pixels need more digits than bf16 has.
  const Variable x = cast(image_in, parameter_dtype(image_in.dtype()));
  const Variable points = rows(x);
  const Variable bases = initial_bases(points);
  Factors f;
  if (options_.gradient == Gradient::one_step) {
    const NoGrad guard;
    f = iterate(points.detach(), bases);
  } else {
    f = iterate(points, bases);
  }
  const Variable coef = coefficients(points, f);
  Observer::tell(*this, "coefficients", coef);
  return cast(image(matmul(coef, f.bases, false, true), x.shape()), image_in.dtype());
}

}  // namespace nextgrad

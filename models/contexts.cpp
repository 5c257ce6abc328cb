#include "models/contexts.h"

#include <cmath>
#include <limits>

#include "autograd/attention.h"
#include "autograd/linalg.h"
#include "autograd/matmul.h"
#include "autograd/recompute.h"
#include "autograd/reduce.h"
#include "autograd/shape_ops.h"
#include "nn/share.h"
#include "tensor/ops.h"

namespace nextgrad {

namespace {

// [N,H,W,C] <-> [N,HW,C].
Variable pixels(const Variable& x) {
  return reshape(x, {x.dim(0), x.dim(1) * x.dim(2), x.dim(3)});
}
Variable image(const Variable& pixels, const Variable& like) {
  return reshape(pixels, {like.dim(0), like.dim(1), like.dim(2), pixels.dim(2)});
}

// [N,H,W,C] <-> [N,W,H,C]: columns become rows.
Variable turned(const Variable& x) {
  return permute(x, {0, 2, 1, 3});
}

// The product of the matrices that the rows of two images are.
Variable row_products(const Variable& a, const Variable& b, bool transpose_b = false) {
  const auto rows = [](const Variable& x) {
    return reshape(x, {x.dim(0) * x.dim(1), x.dim(2), x.dim(3)});
  };
  return image(matmul(rows(a), rows(b), false, transpose_b), a);
}

// [n,n] to be added to scores: nothing scores itself.
Variable not_itself(std::int64_t n, const Variable& scores) {
  const Tensor mask = Tensor::zeros({n * n}, scores.dtype(), scores.device());
  Tensor diagonal = mask.slice(0, 0, n * n, n + 1);
  diagonal.fill_(-std::numeric_limits<double>::infinity());
  return Variable(mask.reshape({n, n}));
}

}  // namespace

Hamburger::Hamburger(int channels, const DecompositionOptions& ham)
    : ham_in_(child<Conv2d>("ham_in.conv", pointwise(channels, channels))),
      ham_(child<MatrixDecomposition>("ham", ham)),
      ham_out_(child<ConvNorm>("ham_out", channels, channels)) {}

Variable Hamburger::forward(Variable x) const {
  // The ReLU gives the NMF what it can factor: nothing negative.
  return relu(x + ham_out_(ham_(relu(ham_in_(x)))));
}

// Scores are products of unscaled queries and keys: the softmax begins soft only with weights as
// small as PyTorch's, with which CCNet is published.
CrissCrossAttention::CrissCrossAttention(int channels)
    : query_(child<Conv2d>("query_conv", pointwise(channels, channels / 8),
                           Init::normal(std::sqrt(1.0 / (3 * channels))))),
      key_(child<Conv2d>("key_conv", pointwise(channels, channels / 8),
                         Init::normal(std::sqrt(1.0 / (3 * channels))))),
      value_(child<Conv2d>("value_conv", pointwise(channels, channels),
                           Init::normal(std::sqrt(1.0 / (3 * channels))))),
      gamma_(parameter("gamma", {1}, Init::constant(0))) {}

Variable CrissCrossAttention::forward(Variable x) const {
  const std::int64_t height = x.dim(1), width = x.dim(2);
  // Exponentials of scores need more digits than bf16 has.
  const DType exact = parameter_dtype(x.dtype());
  const Variable q = cast(query_(x), exact), k = cast(key_(x), exact), v = value_(x);
  const Variable of_rows = row_products(q, k, true);
  const Variable of_columns = row_products(turned(q), turned(k), true);
  const Variable others = turned(of_columns + not_itself(height, of_columns));
  const Variable weights = cast(softmax(concat({others, of_rows}, 3)), v.dtype());
  const Variable column = slice(weights, 3, 0, height);
  const Variable row = slice(weights, 3, height, height + width);
  const Variable y = row_products(row, v) + turned(row_products(turned(column), turned(v)));
  return x + expand(gamma_, {x.dim(3)}) * y;
}

RecurrentCrissCross::RecurrentCrissCross(int channels)
    : conva_(child<ConvNorm>("conva", channels, channels)),
      cca_(child<CrissCrossAttention>("cca", channels)),
      convb_(child<ConvNorm>("convb", channels, channels)) {}

Variable RecurrentCrissCross::forward(Variable x) const {
  return relu(convb_(cca_(cca_(relu(conva_(x))))));
}

EMAttention::EMAttention(int channels, int rank, int steps)
    : bases(buffer("bases", Tensor())),
      steps_(steps),
      conv_(child<ConvNorm>("ema_out_conv", channels, channels)) {
  check(rank >= 1 && steps >= 1, "EM attention: {} bases and {} steps must be positive", rank,
        steps);
  constexpr RandomKey kFirst{.seed = 0x656d61};  // any fixed directions would do
  bases = backend_of({}).random_normal({1, channels, rank}, DType::f32, kFirst);
  bases = bases / sqrt(sum(square(bases), {1}));
}

Variable EMAttention::forward(Variable x) const {
  // As in the Hamburger: sums over all pixels need more digits than bf16 has.
  const Variable exact = cast(x, parameter_dtype(x.dtype()));
  const Variable y = cast(image(em(pixels(exact)), x), x.dtype());
  return relu(x + conv_(relu(y)));
}

// E: z = softmax(x mu), a pixel's shares of the bases. M: mu = x^T z / sum(z), of length 1. All of
// it is constant but the last z.
Variable EMAttention::em(const Variable& x) const {
  const bool first_run = !recomputing();
  if (first_run) started_at_ = bases.clone();  // which is changed in place below
  const auto shares = [&](const Variable& mu) { return softmax(matmul(x, mu)); };
  const auto means = [&](const Variable& z) {
    constexpr double kEps = 1e-6;
    return normalize(matmul(x, z / (sum(z, {1}, true) + kEps), true), 1);
  };
  Variable mu(started_at_);
  for (int step = 1; step < steps_; ++step) {
    const NoGrad constant;
    mu = means(shares(mu));
  }
  const Variable z = shares(mu);
  {
    const NoGrad constant;
    mu = means(z.detach());
  }
  if (training() && first_run) move_bases(mu.value());
  return matmul(z, mu, false, true);
}

void EMAttention::move_bases(const Tensor& found) const {
  constexpr double kMomentum = 0.9;
  Tensor sums = sum(found, {0});
  std::int64_t images = found.dim(0);
  if (const Share& share = current_share(); share.everyone != nullptr) {
    images = images / share.count() * share.total;
    share.everyone->sum(sums);
  }
  const Tensor moved = bases * kMomentum + sums * ((1 - kMomentum) / static_cast<double>(images));
  bases.copy_(moved / sqrt(sum(square(moved), {1})));
}

NonLocal::NonLocal(int channels)
    : theta_(child<Conv2d>("theta", pointwise(channels, channels / 2), Init::normal(0.01))),
      phi_(child<Conv2d>("phi", pointwise(channels, channels / 2), Init::normal(0.01))),
      g_(child<Conv2d>("g", pointwise(channels, channels / 2), Init::normal(0.01))),
      conv_out_(child<Conv2d>("conv_out", pointwise(channels / 2, channels), Init::constant(0))) {}

Variable NonLocal::forward(Variable x) const {
  const Variable y = attention(pixels(theta_(x)), pixels(phi_(x)), pixels(g_(x)), 1);
  return x + conv_out_(image(y, x));
}

}  // namespace nextgrad

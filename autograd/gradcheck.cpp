#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>

#include "autograd/arithmetic.h"
#include "autograd/reduce.h"

namespace nextgrad {

namespace {

// A fixed random tensor; `strided`: a view with a gap between its elements and reversed axes, so
// that every backward is tried with a gradient that is not contiguous.
Tensor cotangent_of(const Tensor& like, bool strided) {
  const RandomKey key{20220918, 0, 0, 0};
  if (!strided || like.ndim() == 0)
    return like.backend().random_uniform(like.shape(), like.dtype(), key);
  Shape shape;
  std::vector<int> reversed;
  for (int a = like.ndim() - 1; a >= 0; --a) {
    shape.push_back(like.dim(a) * (a == 0 ? 2 : 1));
    reversed.push_back(a);
  }
  const Tensor wide = like.backend().random_uniform(shape, like.dtype(), key);
  return wide.permute(reversed).slice(0, 0, 2 * like.dim(0), 2);
}

double dot(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

}  // namespace

GradcheckResult gradcheck(const std::function<Variable(const std::vector<Variable>&)>& fn,
                          const std::vector<Variable>& inputs, bool strided, double h, int most) {
  for (const Variable& input : inputs) {
    check(!input.requires_grad() || input.dtype() == DType::f64, "gradcheck: inputs must be f64");
    const_cast<Variable&>(input).zero_grad();
  }
  const Variable y = fn(inputs);
  const Tensor cotangent = cotangent_of(y.value(), strided);
  y.backward(cotangent);
  GradcheckResult result;
  const NoGrad off;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].requires_grad()) continue;
    const Tensor original = inputs[i].value();
    std::vector<double> x = original.to_vector<double>();
    const std::vector<double> analytic = inputs[i].grad().defined()
                                             ? inputs[i].grad().to_vector<double>()
                                             : std::vector<double>(x.size(), 0.0);
    const auto n = static_cast<std::int64_t>(x.size());
    const std::int64_t step = std::max<std::int64_t>(1, (n + most - 1) / most);
    for (std::int64_t e = (n - 1) % step; e < n; e += step) {
      const auto at = static_cast<std::size_t>(e);
      const double before = x[at];
      double ends[2];
      for (int side = 0; side < 2; ++side) {
        x[at] = before + (side == 0 ? -h : h);
        inputs[i].set_value(Tensor::from(x, original.shape(), original.device()));
        ends[side] = dot(fn(inputs).value(), cotangent);
      }
      x[at] = before;
      const double numeric = (ends[1] - ends[0]) / (2 * h);
      const double error = std::abs(numeric - analytic[at]) /
                           std::max({1.0, std::abs(numeric), std::abs(analytic[at])});
      if (!(error <= result.worst)) {
        result.worst = std::isnan(error) ? 1e300 : error;
        result.where = fmt::format("input {}, element {}: analytic {}, numeric {}", i, e,
                                   analytic[at], numeric);
      }
    }
    inputs[i].set_value(original);
  }
  return result;
}

}  // namespace nextgrad

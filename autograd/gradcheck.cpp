#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/ops.h"

namespace nextgrad {

namespace {

using Function = std::function<Variable(const std::vector<Variable>&)>;

// A fixed random tensor in [-1, 1); `strided`: a view with a gap between its elements and reversed
// axes, so that every backward is tried with a gradient that is not contiguous.
Tensor cotangent_of(const Tensor& like, bool strided) {
  const auto random = [&](const Shape& shape) {
    const RandomKey key{20220918, 0, 0, 0};
    return like.backend().random_uniform(shape, like.dtype(), key) * 2 + -1;
  };
  if (!strided || like.ndim() == 0) return random(like.shape());
  Shape shape;
  std::vector<int> reversed;
  for (int a = like.ndim() - 1; a >= 0; --a) {
    shape.push_back(like.dim(a) * (a == 0 ? 2 : 1));
    reversed.push_back(a);
  }
  return random(shape).permute(reversed).slice(0, 0, 2 * like.dim(0), 2);
}

struct Derivative {
  double numeric, rounding;  // and how far rounding may have moved it
};

// Of the sum of y c between two ends `width` apart. Outputs that did not change, and their
// rounding, cancel exactly; others carry that of all the layers they came through.
Derivative between(const std::vector<double>& low, const std::vector<double>& high,
                   const std::vector<double>& c, double width) {
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < c.size(); ++i) {
    if (low[i] == high[i]) continue;
    sum += (high[i] - low[i]) * c[i];
    const double size = std::max(std::abs(low[i]), std::abs(high[i])) * c[i];
    squares += size * size;
  }
  return {sum / width, 64 * std::numeric_limits<double>::epsilon() * std::sqrt(squares) / width};
}

// Which elements of n are tried.
std::vector<std::size_t> some_of(std::size_t n, int most) {
  const std::size_t step = std::max<std::size_t>(
      1, (n + static_cast<std::size_t>(most) - 1) / static_cast<std::size_t>(most));
  std::vector<std::size_t> chosen;
  for (std::size_t e = n > 0 ? (n - 1) % step : 0; e < n; e += step) chosen.push_back(e);
  return chosen;
}

// The derivatives of sum(fn(inputs) c) by the chosen elements of input i.
std::vector<Derivative> numeric(const Function& fn, const std::vector<Variable>& inputs,
                                std::size_t i, const std::vector<std::size_t>& chosen,
                                const std::vector<double>& c, double h) {
  const NoGrad off;
  const Tensor original = inputs[i].value();
  std::vector<double> x = original.to_vector<double>();
  std::vector<Derivative> all;
  for (const std::size_t e : chosen) {
    const double before = x[e];
    const auto at = [&](double value) {
      x[e] = value;
      inputs[i].set_value(Tensor::from(x, original.shape(), original.device()));
      return fn(inputs).value().to_vector<double>();
    };
    const std::vector<double> low = at(before - h), high = at(before + h);
    all.push_back(between(low, high, c, (before + h) - (before - h)));
    x[e] = before;
  }
  inputs[i].set_value(original);
  return all;
}

}  // namespace

GradcheckResult gradcheck(const Function& fn, const std::vector<Variable>& inputs, bool strided,
                          double h, int most) {
  for (Variable input : inputs) {
    check(!input.requires_grad() || input.dtype() == DType::f64, "gradcheck: inputs must be f64");
    input.zero_grad();
  }
  const Variable y = fn(inputs);
  const Tensor cotangent = cotangent_of(y.value(), strided);
  const std::vector<double> c = cotangent.to_vector<double>();
  y.backward(cotangent);
  GradcheckResult result;
  std::size_t compared = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].requires_grad()) continue;
    const auto size = static_cast<std::size_t>(inputs[i].value().numel());
    const std::vector<double> analytic = inputs[i].grad().defined()
                                             ? inputs[i].grad().to_vector<double>()
                                             : std::vector<double>(size, 0.0);
    const std::vector<std::size_t> chosen = some_of(size, most);
    const std::vector<Derivative> found = numeric(fn, inputs, i, chosen, c, h);
    compared += chosen.size();
    double largest = std::numeric_limits<double>::min();
    for (std::size_t k = 0; k < chosen.size(); ++k)
      largest = std::max({largest, std::abs(analytic[chosen[k]]), std::abs(found[k].numeric)});
    for (std::size_t k = 0; k < chosen.size(); ++k) {
      const double a = analytic[chosen[k]], n = found[k].numeric;
      const double scale = std::max({std::abs(a), std::abs(n), largest / 100});
      const double error = (std::abs(a - n) - found[k].rounding) / scale;
      if (error <= result.worst) continue;
      result.worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
      result.where =
          fmt::format("input {}, element {}: analytic {}, numeric {}", i, chosen[k], a, n);
    }
  }
  check(compared > 0 && !c.empty(), "gradcheck: no input requires a gradient, or all is empty");
  return result;
}

}  // namespace nextgrad

#include "autograd/strips.h"

#include "autograd/checks.h"

namespace nextgrad {

namespace {

void check_strip(const Variable& x, const StripVariables& s) {
  check_parameter("strips", x, s.row);
  check_parameter("strips", x, s.column);
  const std::int64_t c = x.dim(3), k = s.row.ndim() == 3 ? s.row.dim(1) : 0;
  check(k % 2 == 1 && s.row.shape() == Shape{1, k, c} && s.column.shape() == Shape{k, 1, c},
        "strips: row {} and column {} do not fit the input {} (want [1,k,C] and [k,1,C], k odd)",
        s.row.shape().str(), s.column.shape().str(), x.shape().str());
  check_vector("strips", "row bias", x, s.row_bias, c);
  check_vector("strips", "column bias", x, s.column_bias, c);
}

}  // namespace

// y = x + sum_i c_i * r_i, r_i = w_i * x + b_i (0 outside the image); with g_i = c_i' * dy, where '
// turns the taps round, dx = dy + sum_i w_i' * g_i, dc_i = <dy, r_i>, dw_i = <g_i, x>, and the
// biases' gradients are the sums of g_i and dy. r_i and g_i are computed again where needed.
Variable strips(const Variable& x, const std::vector<StripVariables>& strips) {
  check_floating("strips", x);
  check(x.ndim() == 4, "strips: wants input [N,H,W,C], got {}", x.shape().str());
  const Tensor in = x.value().contiguous();
  std::vector<Variable> inputs = {x};
  std::vector<Strip> values;
  std::vector<Saved> saved = {Saved(x, in)};
  for (const StripVariables& s : strips) {
    check_strip(x, s);
    values.push_back({s.row.value().contiguous(), value_or_none(s.row_bias),
                      s.column.value().contiguous(), value_or_none(s.column_bias)});
    inputs.insert(inputs.end(), {s.row, s.row_bias, s.column, s.column_bias});
    const Strip& v = values.back();
    for (const Tensor& t : {v.row, v.row_bias, v.column, v.column_bias}) saved.emplace_back(t);
  }
  return record("strips", x.backend().strips(in, values), inputs,
                [saved = std::move(saved)](const Tensor& dy) -> std::vector<Tensor> {
                  std::vector<Strip> values;
                  for (std::size_t i = 1; i < saved.size(); i += 4)
                    values.push_back({saved[i].get(), saved[i + 1].get(), saved[i + 2].get(),
                                      saved[i + 3].get()});
                  const StripsGradients d =
                      dy.backend().strips_backward(saved[0].get(), values, dy.contiguous());
                  std::vector<Tensor> all = {d.dx};
                  for (const Strip& s : d.dstrips)
                    all.insert(all.end(), {s.row, s.row_bias, s.column, s.column_bias});
                  return all;
                });
}

}  // namespace nextgrad

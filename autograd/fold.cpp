#include "autograd/fold.h"

#include "autograd/checks.h"
#include "tensor/derived.h"
#include "tensor/ops.h"

namespace nextgrad {

namespace {

Weights kept(const char* name, const std::vector<Tensor>& from,
             const std::function<std::vector<Tensor>()>& make) {
  const std::vector<Tensor> w = derived(name, from, Keep::at_once, make);
  return {Variable(w[0]), w.size() > 1 ? Variable(w[1]) : Variable()};
}

}  // namespace

Weights fold_input(const Weights& w, const Variable& scale, const Variable& shift) {
  const Tensor weight = w.weight.value().contiguous(), bias = value_or_none(w.bias);
  const Tensor s = scale.value(), t = shift.value();
  return kept("fold_input", {weight, bias, s, t}, [&] {
    const Tensor moved = matmul(t.unsqueeze(0), weight, false, true).squeeze(0);
    return std::vector<Tensor>{weight * s, bias.defined() ? bias + moved : moved};
  });
}

Weights fold_output(const Weights& w, const Variable& scale, const Variable& shift) {
  const Tensor weight = w.weight.value().contiguous(), bias = value_or_none(w.bias);
  const Tensor s = scale.value(), t = value_or_none(shift);
  return kept("fold_output", {weight, bias, s, t}, [&] {
    Shape rows{s.numel()};
    while (rows.size() < weight.ndim()) rows.push_back(1);
    std::vector<Tensor> made{weight * s.reshape(rows)};
    if (bias.defined() && t.defined())
      made.push_back(bias * s + t);
    else if (bias.defined() || t.defined())
      made.push_back(bias.defined() ? bias * s : t.clone());
    return made;
  });
}

Weights fold_residual(const Variable& scale, const Variable& shift, const Variable& factor) {
  const Tensor s = scale.value(), t = shift.value(), f = value_or_none(factor);
  return kept("fold_residual", {s, t, f}, [&]() -> std::vector<Tensor> {
    if (!f.defined()) return {s + 1.0, t.clone()};
    return {s * f + 1.0, t * f};
  });
}

Variable kept_columns(const Variable& weight, std::int64_t from, std::int64_t to) {
  const Tensor columns = weight.value().slice(1, from, to);
  return Variable(derived_one(fmt::format("columns {}", from), {columns}, Keep::at_once,
                              [&] { return columns.clone(); }));
}

}  // namespace nextgrad

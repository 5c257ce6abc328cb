#include "autograd/nmf.h"

#include "autograd/checks.h"

namespace nextgrad {

Variable nmf(const Variable& x, const Tensor& bases, const NmfOptions& options, bool one_step,
             Tensor* coef) {
  check_floating("nmf", x);
  check_parameter("nmf", x, bases);
  check(x.ndim() == 3 && bases.ndim() == 3 && bases.dim(0) == x.dim(0) && bases.dim(1) == x.dim(2),
        "nmf: bases {} do not fit the input {} (want [B,P,D] and [B,D,R])", bases.shape(),
        x.shape());
  const bool records = grad_enabled() && x.requires_grad();
  const NmfKeep keep = !records   ? NmfKeep::nothing
                       : one_step ? NmfKeep::last_step
                                  : NmfKeep::all_steps;
  const Tensor in = x.value().contiguous();
  NmfResult r = in.backend().nmf(in, bases.contiguous(), options, keep);
  if (coef != nullptr) *coef = r.coef;
  const Tensor y = std::exchange(r.y, Tensor());
  std::vector<Saved> kept{Saved(r.coef)};
  for (const Tensor& t : r.kept) kept.emplace_back(t);
  return record(
      "nmf", y, {x},
      [=, in = Saved(x, in), kept = std::move(kept)](const Tensor& dy) -> std::vector<Tensor> {
        NmfResult r{{}, kept[0].get(), {}};
        for (std::size_t i = 1; i < kept.size(); ++i) r.kept.push_back(kept[i].get());
        return {dy.backend().nmf_backward(in.get(), r, options, keep, dy.contiguous())};
      });
}

}  // namespace nextgrad

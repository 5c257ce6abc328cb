#include "autograd/residual.h"

#include "autograd/arithmetic.h"
#include "autograd/checks.h"

namespace nextgrad {

// y = x + m s b: dx = dy, db = m s dy, ds = sum over pixels of m b dy
Variable residual(const Variable& x, const Variable& branch, const Variable& scale,
                  const Tensor& mask) {
  check_floating("residual", x.value());
  check_same("residual", x.value(), branch.value());
  check(x.shape() == branch.shape(), "residual: {} and {} differ", x.shape().str(),
        branch.shape().str());
  check_vector("residual", "scale", x.value(), scale, x.dim(-1));
  check_mask("residual", x.value(), mask);
  const Tensor b = branch.value().contiguous(), s = value_or_none(scale);
  const bool ds = scale.requires_grad();
  return record("residual", x.backend().residual(x.value().contiguous(), b, s, mask),
                {x, branch, scale},
                [ds, b = ds ? Saved(branch, b) : Saved(), s = Saved(s),
                 mask = Saved(mask)](const Tensor& dy) -> std::vector<Tensor> {
                  const Tensor g = dy.contiguous();
                  auto d = g.backend().residual_backward(b.get(), s.get(), mask.get(), g, ds);
                  return {g, d.dbranch, d.ds};
                });
}

Variable apply_mask(const Variable& x, const Tensor& mask) {
  return x * Variable(mask.to(x.dtype()));
}

}  // namespace nextgrad

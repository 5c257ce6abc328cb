#include "autograd/residual.h"

#include "autograd/arithmetic.h"
#include "autograd/checks.h"
#include "autograd/fuse.h"

namespace nextgrad {

// y = x + m s b: dx = dy, db = m s dy, ds = sum over pixels of m b dy
Variable residual(const Variable& x, const Variable& branch, const Variable& scale,
                  const Tensor& mask, Tensor* moments) {
  check_floating("residual", x);
  check_same("residual", x, branch);
  check(x.shape() == branch.shape(), "residual: {} and {} differ", x.shape().str(),
        branch.shape().str());
  check_vector("residual", "scale", x, scale, x.dim(-1));
  check_mask("residual", x, mask);
  const Tensor b = branch.value().contiguous(), s = value_or_none(scale);
  const bool ds = scale.requires_grad();
  return record("residual", x.backend().residual(x.value().contiguous(), b, s, mask, moments),
                {x, branch, scale},
                [ds, b = ds ? Saved(branch, b) : Saved(), s = Saved(s),
                 mask = Saved(mask)](const Tensor& dy) -> std::vector<Tensor> {
                  const Tensor g = dy.contiguous();
                  auto d = g.backend().residual_backward(b.get(), s.get(), mask.get(), g, ds);
                  return {g, d.dbranch, d.ds};
                });
}

Variable scale_images(Variable x, const Tensor& mask) {
  check_floating("scale_images", x);
  check(x.ndim() >= 1 && mask.defined(), "scale_images: wants images and a mask");
  check_mask("scale_images", x, mask);
  const Shape shape = x.shape();
  return uncooked(ScaleRecipe{std::move(x), {}, Saved(mask)}, shape);
}

Variable apply_mask(const Variable& x, const Tensor& mask) {
  return x * Variable(mask.to(x.dtype()));
}

}  // namespace nextgrad

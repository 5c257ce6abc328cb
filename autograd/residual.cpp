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
  const DType mask_dtype = parameter_dtype(x.dtype());
  check(!mask.defined() ||
            (mask.ndim() == 1 && mask.dim(0) == x.dim(0) && mask.dtype() == mask_dtype),
        "residual: the mask must be {} [{}]", name_of(mask_dtype), x.dim(0));
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

// y = a u: da = dy u, du = dy a, both in one pass
Variable gate(const Variable& a, const Variable& u) {
  check_floating("gate", a.value());
  check_same("gate", a.value(), u.value());
  check(a.shape() == u.shape(), "gate: {} and {} differ", a.shape().str(), u.shape().str());
  const Tensor va = a.value().contiguous(), vu = u.value().contiguous();
  return record("gate", a.backend().binary(Binary::mul, va, vu), {a, u},
                [va = Saved(a, va), vu = Saved(u, vu)](const Tensor& dy) -> std::vector<Tensor> {
                  auto [da, du] = dy.backend().gate_backward(va.get(), vu.get(), dy.contiguous());
                  return {da, du};
                });
}

Variable apply_mask(const Variable& x, const Tensor& mask) {
  return x * Variable(mask.to(x.dtype()));
}

}  // namespace nextgrad

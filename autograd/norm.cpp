#include "autograd/norm.h"

#include "autograd/checks.h"
#include "autograd/fuse.h"
#include "tensor/derived.h"
#include "tensor/ops.h"

namespace nextgrad {

namespace {

void check_norm(const char* op, const Variable& x, const Variable& gamma, const Variable& beta) {
  check_floating(op, x);
  check(x.ndim() >= 1 && x.numel() > 0, "{}: the input {} is empty", op, x.shape());
  check(gamma.defined() && beta.defined(), "{}: wants gamma and beta", op);
  check_vector(op, "gamma", x, gamma, x.dim(-1));
  check_vector(op, "beta", x, beta, x.dim(-1));
}

// Of (backend, x, gamma, mean, rstd, dy).
using NormBackward = std::function<NormGradients(Backend&, const Tensor&, const Tensor&,
                                                 const Tensor&, const Tensor&, const Tensor&)>;

Variable record_norm(const char* name, const Variable& x, const Variable& gamma,
                     const Variable& beta, const Tensor& in, const NormResult& r,
                     const NormBackward& backward, Remake remake = nullptr) {
  return record(
      name, r.y, {x, gamma, beta},
      [backward, in = Saved(x, in), gamma = Saved(gamma), mean = Saved(r.mean),
       rstd = Saved(r.rstd)](const Tensor& dy) -> std::vector<Tensor> {
        NormGradients d = backward(dy.backend(), in.get(), gamma.get().contiguous(), mean.get(),
                                   rstd.get(), dy.contiguous());
        return {d.dx, d.dgamma, d.dbeta};
      },
      std::move(remake));
}

}  // namespace

// y = (x - m) r gamma + beta, r = 1 / sqrt(v + eps); with z = (x - m) r and averages <> over rows:
// dx = gamma r (dy - <dy> - z <dy z>), dgamma = sum dy z, dbeta = sum dy
Variable batch_norm(const Variable& x, const Variable& gamma, const Variable& beta, double eps,
                    const RunningStatistics* running) {
  check_norm("batch_norm", x, gamma, beta);
  Tensor moments;
  const Tensor in = cook(x, &moments).contiguous(), g = gamma.value().contiguous();
  const NormResult r =
      in.backend().batch_norm(in, g, beta.value().contiguous(), eps, moments, running);
  const Remake remake = [in = Saved(x, in), g = Saved(g), beta = Saved(beta), mean = Saved(r.mean),
                         rstd = Saved(r.rstd)] {
    return in.get().backend().channel_affine(in.get(), g.get(), beta.get(), mean.get(), rstd.get());
  };
  const NormBackward backward = [needs_dx = x.requires_grad()](Backend& b, const auto&... saved) {
    return b.batch_norm_backward(saved..., needs_dx ? take_arrived(0) : Tensor());
  };
  return record_norm("batch_norm", x, gamma, beta, in, r, backward, remake);
}

// With the sums over all ranks' rows, d = x - centre: m = centre + <d>, v = <d^2> - <d>^2. In the
// backward as above with <> over all ranks: dx = a dy - b (x - m) - c, where a = gamma r,
// b = gamma r^3 <dy (x - m)> and c = gamma r <dy>.
Variable sync_batch_norm(const Variable& x, const Variable& gamma, const Variable& beta, double eps,
                         Communicator& everyone, std::int64_t rows, const Tensor& centre,
                         Tensor* mean, Tensor* rstd) {
  check_norm("sync_batch_norm", x, gamma, beta);
  const Tensor in = x.value().contiguous(), g = gamma.value().contiguous();
  const DType dtype = g.dtype();
  const double share = 1.0 / static_cast<double>(rows);
  const auto row = [](const Tensor& t, int i) { return t.slice(0, i, i + 1).squeeze(0); };
  const Tensor about = centre.to(dtype).contiguous();
  Tensor sums = in.backend().channel_moments(in, about);
  everyone.sum(sums);
  const Tensor d = row(sums, 0) * share;
  const Tensor variance = apply(Unary::clamp_min, row(sums, 1) * share - square(d), 0);
  const Tensor m = (about.to(DType::f64) + d).to(dtype), r = rsqrt(variance + eps).to(dtype);
  if (mean != nullptr) *mean = m;
  if (rstd != nullptr) *rstd = r;
  const NormResult result{in.backend().channel_affine(in, r * g, beta.value().contiguous(), m), m,
                          r};
  const Remake remake = [in = Saved(x, in), g = Saved(g), beta = Saved(beta), m = Saved(m),
                         r = Saved(r)] {
    return in.get().backend().channel_affine(in.get(), g.get(), beta.get(), m.get(), r.get());
  };
  return record_norm(
      "sync_batch_norm", x, gamma, beta, in, result,
      [&everyone, share, row](Backend& backend, const Tensor& x, const Tensor& gamma,
                              const Tensor& m, const Tensor& rstd,
                              const Tensor& dy) -> NormGradients {
        const Tensor r = rstd.to(DType::f64), gr = gamma.to(DType::f64) * r;
        const Tensor mine = backend.channel_products(x, m, dy);  // sums of dy and dy (x - m)
        Tensor sums = mine.clone();
        everyone.sum(sums);
        const Tensor coefficients = Tensor::empty({3, gamma.numel()}, gamma.dtype(), x.device());
        row(coefficients, 0).copy_(gr);
        row(coefficients, 1).copy_(gr * square(r) * row(sums, 1) * share);
        row(coefficients, 2).copy_(gr * row(sums, 0) * share);
        return {backend.channel_gradient(x, m, dy, coefficients),
                (row(mine, 1) * r).to(gamma.dtype()), row(mine, 0).to(gamma.dtype())};
      },
      remake);
}

// y = x s + (beta - m s), s = gamma r: dx = s dy, dbeta = sum dy, dgamma = r (sum dy x - m sum dy)
Variable batch_norm_eval(Variable x, const Variable& gamma, const Variable& beta,
                         const Tensor& running_mean, const Tensor& running_var, double eps) {
  check_norm("batch_norm_eval", x, gamma, beta);
  check(running_mean.numel() == x.dim(-1) && running_var.numel() == x.dim(-1),
        "batch_norm_eval: running statistics of {} channels for input {}", running_mean.numel(),
        x.shape());
  const DType dtype = parameter_dtype(x.dtype());
  const Tensor mean = running_mean.to(dtype).contiguous();
  const Tensor g = gamma.value().contiguous(), b = beta.value().contiguous();
  const auto fold = [&] {
    const auto f = x.backend().fold_statistics(g, b, mean, running_var.to(dtype).contiguous(), eps);
    return std::vector<Tensor>{f.scale, f.shift, f.rstd};
  };
  const bool records =
      grad_enabled() && (x.requires_grad() || gamma.requires_grad() || beta.requires_grad());
  if (!records && Watch::active() == nullptr) {
    const std::vector<Tensor> f =
        derived("batch_norm_eval", {g, b, running_mean, running_var}, Keep::at_once, fold, eps);
    if (!is_waiting_product(x)) x.value();  // now, so that no chain of recipes grows over blocks
    const Shape shape = x.shape();
    return uncooked(AffineRecipe{std::move(x), Variable(f[0]), Variable(f[1])}, shape);
  }
  const std::vector<Tensor> f = fold();
  const Tensor in = x.value().contiguous(), scale = f[0], shift = f[1], rstd = f[2];
  return record("batch_norm_eval", in.backend().channel_affine(in, scale, shift, {}),
                {x, gamma, beta},
                [in = Saved(in), s = scale, m = Saved(mean), r = rstd,
                 dtype](const Tensor& grad) -> std::vector<Tensor> {
                  const Tensor dy = grad.to(dtype), x = in.get().to(dtype);
                  const Tensor dbeta = sum_to(dy, s.shape()), dyx = sum_to(dy * x, s.shape());
                  const Tensor dgamma = r * (dyx - m.get() * dbeta);
                  return {(dy * s).to(grad.dtype()), dgamma, dbeta};
                });
}

// As batch norm, with the averages over each row's channels.
Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta, double eps) {
  check_norm("layer_norm", x, gamma, beta);
  const Tensor in = x.value().contiguous(), g = gamma.value().contiguous();
  const NormResult r = in.backend().layer_norm(in, g, beta.value().contiguous(), eps);
  return record_norm("layer_norm", x, gamma, beta, in, r, &Backend::layer_norm_backward);
}

// As batch norm, with the averages over each image's group of channels and all its pixels.
Variable group_norm(const Variable& x, const Variable& gamma, const Variable& beta, int groups,
                    double eps) {
  check_norm("group_norm", x, gamma, beta);
  check(x.ndim() >= 2 && groups > 0 && x.dim(-1) % groups == 0,
        "group_norm: {} channels of {} do not split into {} groups", x.dim(-1), x.shape(), groups);
  const Tensor in = x.value().contiguous(), g = gamma.value().contiguous();
  const NormResult r = in.backend().group_norm(in, g, beta.value().contiguous(), groups, eps);
  return record_norm("group_norm", x, gamma, beta, in, r,
                     [groups](Backend& b, const auto&... saved) {
                       return b.group_norm_backward(saved..., groups);
                     });
}

}  // namespace nextgrad

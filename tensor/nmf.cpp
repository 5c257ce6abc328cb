// Non-negative matrix factorisation as a composition: X [P,D] by c [P,R] times b^T [R,D].
//
//   n = X b,       c' = c n / (c G + eps),    G = b^T b,
//   m = X^T c',    b' = b m / (b H + eps),    H = c'^T c',
//
// `steps` times, and c once more. Backward through y = c / d (n, G and the factors moving), with u
// the gradient of c' over d = c G + eps:
//
//   dn = u c,    dd = -u c n / d,    dc = u n + dd G,    db += X^T dn + b (c^T dd + dd^T c),
//
// and likewise for b' with X turned. dX is the sum of all dn b^T and c dm^T: one product of these
// side by side.
#include "tensor/backend.h"
#include "tensor/costs.h"
#include "tensor/ops.h"

namespace nextgrad {

namespace {

constexpr double kEps = 1e-6;  // of the published code, in every quotient

Tensor turned(const Tensor& x) {
  return x.permute({0, 2, 1});
}
// a + a^T.
Tensor symmetric(const Tensor& a) {
  return a + turned(a);
}

// One update f' = f n / (f g + eps), and its gradients but those that g carries.
struct Update {
  Tensor f, n, g;
  Tensor denominator() const { return matmul(f, g) + kEps; }
  Tensor operator()() const { return f * n / denominator(); }
};
struct UpdateGradients {
  Tensor dn, df, dg;
  UpdateGradients(const Update& u, const Tensor& dy) {
    const Tensor d = u.denominator(), by = dy / d, dd = by * u.f * u.n / d * -1.0;
    dn = by * u.f;
    df = by * u.n + matmul(dd, u.g);
    dg = matmul(u.f, dd, true);
  }
};

// Of a step is kept what its updates read: b, c, n and m, which the last step has not.
constexpr std::size_t kOfStep = 4;

// Matrices beside each other.
Tensor beside(const std::vector<Tensor>& parts) {
  Shape shape = parts[0].shape();
  shape[2] = 0;
  for (const Tensor& part : parts) shape[2] += part.dim(2);
  Tensor all = Tensor::empty(shape, parts[0].dtype(), parts[0].device());
  std::int64_t at = 0;
  for (const Tensor& part : parts) {
    all.slice(2, at, at + part.dim(2)).copy_(part);
    at += part.dim(2);
  }
  return all;
}

}  // namespace

NmfResult Fused::nmf(const Tensor& x, const Tensor& bases, const NmfOptions& o, NmfKeep keep) {
  const OpScope scope(costs::nmf(x, bases, o));
  const Tensor in = x.to(bases.dtype());
  NmfResult r;
  Tensor b = bases, n = matmul(in, b), c = nextgrad::softmax(n * o.inv_t);
  for (int k = 0;; ++k) {
    if (keep == NmfKeep::all_steps || (keep == NmfKeep::last_step && k == o.steps))
      r.kept.insert(r.kept.end(), {b, c, n, Tensor()});
    c = Update{c, n, matmul(b, b, true)}();
    if (k == o.steps) break;
    const Tensor m = matmul(in, c, true);
    if (keep == NmfKeep::all_steps) r.kept.back() = m;
    b = Update{b, m, matmul(c, c, true)}();
    n = matmul(in, b);
  }
  r.y = matmul(c, b, false, true).to(x.dtype());
  r.coef = c;
  return r;
}

Tensor Fused::nmf_backward(const Tensor& x, const NmfResult& r, const NmfOptions& o, NmfKeep kept,
                           const Tensor& dy) {
  const OpScope scope(costs::nmf_backward(x, r.coef, o, kept));
  const Tensor in = x.to(r.coef.dtype()), d = dy.to(r.coef.dtype());
  const bool all = kept == NmfKeep::all_steps;
  const int last = all ? o.steps : 0;
  const auto at = [&](int step, std::size_t what) -> const Tensor& {
    return r.kept[static_cast<std::size_t>(step) * kOfStep + what];
  };
  std::vector<Tensor> left, right;  // dX = left right^T
  Tensor dc = matmul(d, at(last, 0)), db = matmul(d, r.coef, true);
  for (int k = last;; --k) {
    const Tensor &b = at(k, 0), &c = at(k, 1), &n = at(k, 2);
    const UpdateGradients of_c({c, n, matmul(b, b, true)}, dc);
    left.push_back(of_c.dn);
    right.push_back(b);
    if (!all) break;
    if (k == 0) {  // c = softmax(inv_t n)
      left.back() = of_c.dn + in.backend().softmax_backward(c, of_c.df, false) * o.inv_t;
      break;
    }
    db = db + matmul(in, of_c.dn, true) + matmul(b, symmetric(of_c.dg));
    const UpdateGradients of_b({at(k - 1, 0), at(k - 1, 3), matmul(c, c, true)}, db);
    left.push_back(c);
    right.push_back(of_b.dn);
    dc = of_c.df + matmul(in, of_b.dn) + matmul(c, symmetric(of_b.dg));
    db = of_b.df;
  }
  return matmul(beside(left), beside(right), false, true).to(dy.dtype());
}

}  // namespace nextgrad

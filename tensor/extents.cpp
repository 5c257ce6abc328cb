#include "tensor/extents.h"

#include <algorithm>
#include <limits>

namespace nextgrad {

ImageRows image_rows(const Tensor& x, std::int64_t images) {
  const std::int64_t c = x.dim(-1);
  return {images, images * c == 0 ? 0 : x.numel() / (images * c), c};
}

Shape without_axis(const Shape& shape, int axis) {
  Shape rest;
  for (int a = 0; a < shape.size(); ++a) {
    if (a != axis) rest.push_back(shape[a]);
  }
  return rest;
}

NormExtents batch_extents(const Tensor& x) {
  return {image_rows(x, 1), x.dim(-1)};
}

NormExtents group_extents(const Tensor& x, int groups) {
  const std::int64_t c = x.dim(-1);
  check(groups > 0 && c % groups == 0, "group_norm: {} channels in {} groups", c, groups);
  return {image_rows(x, x.dim(0)), groups};
}

NormResult empty_norm(const Tensor& x, const Shape& statistics_shape) {
  const DType parameters = parameter_dtype(x.dtype());
  return {Tensor::empty(x.shape(), x.dtype(), x.device()),
          Tensor::empty(statistics_shape, parameters, x.device()),
          Tensor::empty(statistics_shape, parameters, x.device())};
}

NormGradients empty_norm_gradients(const Tensor& x, const Tensor& gamma, const Tensor& onto) {
  NormGradients g{onto.defined() ? onto : Tensor::empty(x.shape(), x.dtype(), x.device()),
                  Tensor::empty(gamma.shape(), gamma.dtype(), x.device()),
                  Tensor::empty(gamma.shape(), gamma.dtype(), x.device())};
  if (x.numel() == 0) {
    g.dgamma.fill_(0);
    g.dbeta.fill_(0);
  }
  return g;
}

AttentionExtents attention_extents(const Tensor& q, const Tensor& k, const Tensor& v, int heads) {
  return {q.dim(0), q.dim(1), k.dim(1), q.dim(2) / heads, v.dim(2) / heads, heads};
}

AttentionResult empty_attention(const Tensor& q, const AttentionExtents& x) {
  return {Tensor::zeros({x.b, x.m, x.heads * x.e}, q.dtype(), q.device()),
          Tensor::full({x.b, x.heads, x.m}, -std::numeric_limits<double>::infinity(),
                       parameter_dtype(q.dtype()), q.device())};
}

AttentionGradients empty_attention_gradients(const Tensor& q, const Tensor& k, const Tensor& v) {
  const auto zeros = [](const Tensor& x) {
    return Tensor::zeros(x.shape(), x.dtype(), x.device());
  };
  return {zeros(q), zeros(k), zeros(v)};
}

MiddleAxes around(const Shape& shape, int first, int last) {
  MiddleAxes e;
  for (int a = 0; a < shape.size(); ++a) {
    (a < first ? e.outer : a <= last ? e.r : e.inner) *= shape[a];
  }
  return e;
}

Tensor reduce_groups(Reduce op, const Tensor& x, const std::vector<int>& axes, DType between,
                     const ReduceMiddle& reduce) {
  std::int64_t count = 1;
  for (const int a : axes) count *= x.shape()[a];
  check(count > 0 || op == Reduce::sum, "reduce: no element along the reduced axes of {}",
        x.shape());
  if (axes.empty()) return x.clone();
  const double mean = op == Reduce::mean ? 1.0 / static_cast<double>(count) : 1.0;
  Tensor y = x;
  for (std::size_t end = axes.size(); end > 0;) {
    std::size_t begin = end - 1;
    while (begin > 0 && axes[begin - 1] == axes[begin] - 1) --begin;
    const MiddleAxes e = around(y.shape(), axes[begin], axes[end - 1]);
    Shape shape = y.shape();
    for (int a = axes[begin]; a <= axes[end - 1]; ++a) shape[a] = 1;
    const Tensor from = y;
    y = Tensor::empty(shape, begin == 0 ? x.dtype() : between, x.device());
    if (e.r == 0) {
      y.fill_(0);
    } else if (y.numel() > 0) {
      reduce(from, e, begin == 0 ? mean : 1.0, y);
    }
    end = begin;
  }
  return y;
}

std::pair<MiddleAxes, Tensor> prepare_argmax(const Tensor& x, int axis) {
  const int at = x.shape().axis(axis);
  const MiddleAxes e = around(x.shape(), at, at);
  check(e.r > 0, "argmax: axis {} of {} is empty", axis, x.shape());
  return {e, Tensor::empty(without_axis(x.shape(), at), DType::i64, x.device())};
}

int gather_axis(const Shape& x, int axis, const Shape& index) {
  const int at = x.axis(axis);
  bool ok = x.size() == index.size();
  for (int a = 0; ok && a < x.size(); ++a) ok = a == at || index[a] <= x[a];
  check(ok, "gather: index {} does not fit into {} along axis {}", index, x, at);
  return at;
}

ConvShape conv_shape(const Shape& x, const Shape& weight, const Window& window, int groups) {
  return {x[0],      x[1],   x[2],  x[3], window.out_h(x[1]), window.out_w(x[2]),
          weight[0], window, groups};
}

ConvGradients empty_conv_gradients(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                   Needs needs) {
  ConvGradients g;
  if (needs.dx) g.dx = Tensor::empty(x.shape(), x.dtype(), x.device());
  if (needs.dweight) g.dweight = Tensor::empty(weight.shape(), weight.dtype(), x.device());
  if (needs.dbias) g.dbias = Tensor::empty({dy.dim(-1)}, weight.dtype(), x.device());
  for (Tensor* t : {&g.dx, &g.dweight, &g.dbias})
    if (t->defined() && dy.numel() == 0) t->fill_(0);
  return g;
}

DepthwiseShape depthwise_shape(const Tensor& x, const Window& window) {
  return {x.dim(0), x.dim(1), x.dim(2), x.dim(3), window.out_h(x.dim(1)), window.out_w(x.dim(2)),
          window};
}

StripsGradients empty_strips_gradients(const Tensor& x, const std::vector<Strip>& strips) {
  const auto like = [](const Tensor& t) {
    return t.defined() ? Tensor::empty(t.shape(), t.dtype(), t.device()) : Tensor();
  };
  StripsGradients g{like(x), {}};
  for (const Strip& s : strips)
    g.dstrips.push_back({like(s.row), like(s.row_bias), like(s.column), like(s.column_bias)});
  return g;
}

ResizeExtents resize_extents(const char* op, const Shape& x, std::int64_t h, std::int64_t w) {
  check(x[1] > 0 && x[2] > 0 && h > 0 && w > 0, "{}: from {} to {} x {}", op, x, h, w);
  return {x[0], x[1], x[2], x[3], h, w};
}

void check_band(const Tensor& x, const RowBand& band) {
  const auto [first, last] = rows_read(band);
  check(first >= band.in_top && last <= band.in_top + x.dim(1),
        "resize: rows {} to {} are wanted, {} to {} are there", first, last - 1, band.in_top,
        band.in_top + x.dim(1) - 1);
}

double loss_divisor(std::int64_t pixels, const CrossEntropyOptions& o) {
  using Normalise = CrossEntropyOptions::Normalise;
  if (o.normalise == Normalise::none) return 1;
  if (o.normalise == Normalise::valid) return 0;
  return std::max(static_cast<double>(pixels), 1e-12);
}

}  // namespace nextgrad

// What every backend works out on the host alike: extents, checks of shapes, empty results.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/backend.h"

namespace nextgrad {

// x as [images, rows, c], c its last axis; no rows where there are no images or channels.
struct ImageRows {
  std::int64_t images, rows, c;
};
ImageRows image_rows(const Tensor& x, std::int64_t images);
Shape without_axis(const Shape& shape, int axis);

// --- normalisation ---
struct NormExtents : ImageRows {
  std::int64_t groups;
  std::int64_t width() const { return c / groups; }  // channels of a group
  double group_size() const { return static_cast<double>(rows) * width(); }
};
NormExtents batch_extents(const Tensor& x);  // one image, a channel a group
NormExtents group_extents(const Tensor& x, int groups);
NormResult empty_norm(const Tensor& x, const Shape& statistics_shape);
// dgamma and dbeta are 0 if x is empty; dx is `onto` if that is given.
NormGradients empty_norm_gradients(const Tensor& x, const Tensor& gamma, const Tensor& onto = {});

// --- attention: head h of q [b, m, heads d], k [b, n, heads d], v [b, n, heads e] ---
struct AttentionExtents {
  std::int64_t b, m, n, d, e, heads;
  bool empty() const { return b * m * n * heads == 0; }
};
AttentionExtents attention_extents(const Tensor& q, const Tensor& k, const Tensor& v, int heads);
// Where there are no queries or no keys: y and the gradients are 0, the log of no sum -infinity.
AttentionResult empty_attention(const Tensor& q, const AttentionExtents& x);
AttentionGradients empty_attention_gradients(const Tensor& q, const Tensor& k, const Tensor& v);

// --- reductions ---
// The extents before, of and behind axes first..last.
struct MiddleAxes {
  std::int64_t outer = 1, r = 1, inner = 1;
};
MiddleAxes around(const Shape& shape, int first, int last);
// Reduces neighbouring axes at a time, the last ones first, by reduce(from, the axes, factor, to).
// What is left between two groups is of dtype `between`.
using ReduceMiddle = std::function<void(const Tensor&, const MiddleAxes&, double, Tensor&)>;
Tensor reduce_groups(Reduce op, const Tensor& x, const std::vector<int>& axes, DType between,
                     const ReduceMiddle& reduce);
// The axes around `axis`, and an empty result.
std::pair<MiddleAxes, Tensor> prepare_argmax(const Tensor& x, int axis);

// The axis, counted from 0; throws unless the index fits into x.
int gather_axis(const Shape& x, int axis, const Shape& index);

// --- convolution ---
struct ConvShape {
  std::int64_t n, h, w, in, oh, ow, out;
  Window window;
  int groups;
  std::int64_t group_in() const { return in / groups; }
  std::int64_t group_out() const { return out / groups; }
  std::int64_t patch() const { return std::int64_t{window.kh} * window.kw * group_in(); }
  std::int64_t pixels() const { return n * oh * ow; }
};
// Undefined where not asked for; 0 if dy is empty.
ConvGradients empty_conv_gradients(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                   Needs needs);

ConvShape conv_shape(const Shape& x, const Shape& weight, const Window& window, int groups);

struct DepthwiseShape {
  std::int64_t n, h, w, c, oh, ow;
  Window window;
  std::int64_t taps() const { return std::int64_t{window.kh} * window.kw; }
};
DepthwiseShape depthwise_shape(const Tensor& x, const Window& window);
StripsGradients empty_strips_gradients(const Tensor& x, const std::vector<Strip>& strips);

// --- resize ---
struct ResizeExtents {
  std::int64_t n, h, w, c, oh, ow;
};
ResizeExtents resize_extents(const char* op, const Shape& x, std::int64_t h, std::int64_t w);
void check_band(const Tensor& x, const RowBand& band);  // that x holds rows_read(band)

// --- losses ---
// What the sum of losses is divided by; 0: by what the labels' weights give.
double loss_divisor(std::int64_t pixels, const CrossEntropyOptions& o);

}  // namespace nextgrad

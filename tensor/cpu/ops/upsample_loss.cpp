// Cross entropy of bilinearly upsampled logits. A task walks the cells (upsample_loss.h) between
// source rows y and y + 1. Backward: a task walks a band of source rows, fixed in size, and carries
// the lower corners' gradients to the next row; what it has for the row below its band is added in
// a second pass.
#include "tensor/cpu/ops/upsample_loss.h"

#include <algorithm>
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/taps.h"
#include "tensor/cpu/ops/loss.h"

namespace nextgrad::cpu {
namespace {

constexpr std::int64_t kBand = 4;  // source rows of a backward task

// Output columns [begin, begin + count), all between source columns `first` and `second`, evenly
// spaced.
struct ColumnRun {
  std::int64_t first, second, begin, count;
  double start, step;
};

std::vector<ColumnRun> make_runs(const std::vector<Tap>& taps) {
  std::vector<ColumnRun> runs;
  for (std::size_t i = 0; i < taps.size(); ++i) {
    const Tap& tap = taps[i];
    if (!runs.empty()) {
      ColumnRun& last = runs.back();
      const double step = last.count == 1 ? tap.t - last.start : last.step;
      const double expected = last.start + last.count * step;
      if (last.first == tap.first && last.count < kRunPixels && std::abs(expected - tap.t) < 1e-9) {
        last.step = step;
        ++last.count;
        continue;
      }
    }
    runs.push_back({tap.first, tap.second, static_cast<std::int64_t>(i), 1, tap.t, 0.0});
  }
  return runs;
}

// All that a task reads: logits [N,h,w,K], labels [N,oh,ow].
template <class T>
struct Problem {
  const Tensor &logit, &label;
  const Target<T>& target;
  const T* logits = logit.data<T>();
  const std::int32_t* labels = label.data<std::int32_t>();
  std::int64_t n = logit.dim(0), h = logit.dim(1), w = logit.dim(2), k = logit.dim(3);
  std::int64_t oh = label.dim(1), ow = label.dim(2);
  std::int64_t padded = (k + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
  std::vector<Tap> rows = make_taps(h, oh, Resize::bilinear);
  std::vector<std::int64_t> row_starts = starts_of(rows, h);
  std::vector<ColumnRun> runs = make_runs(make_taps(w, ow, Resize::bilinear));
  std::vector<std::int64_t> run_starts = starts_of(runs, w);

  // Calls fn(ty, run, pixel) for the runs between source rows y and y + 1, columns i and i + 1 of
  // an image; `pixel` is the first of each.
  template <class Fn>
  void for_runs(std::int64_t image, std::int64_t y, std::int64_t i, Fn&& fn) const {
    for (std::int64_t o = row_starts[y]; o < row_starts[y + 1]; ++o)
      for (std::int64_t r = run_starts[i]; r < run_starts[i + 1]; ++r)
        fn(static_cast<T>(rows[o].t), runs[r], (image * oh + o) * ow + runs[r].begin);
  }
};

// The cell between source rows y and y + 1, columns i and i + 1 (at the border the same ones) of
// one image, and its corners as they are.
template <class T>
struct Corners {
  const T *a0, *a1, *b0, *b1;
  T top = 0;
  bool gentle = false;
  std::vector<T> cell, work;  // [4, padded]; [2, padded]
  std::vector<T> pixel;       // [padded]: logits of one pixel
  double smooth[4] = {};      // P, Q, D, X summed over classes with label smoothing's weights

  explicit Corners(std::int64_t padded)
      : cell(4 * padded), work(2 * padded), pixel(padded, T(kPadding)) {}

  void move_to(const Problem<T>& p, std::int64_t image, std::int64_t y, std::int64_t i) {
    const std::int64_t below = y + 1 < p.h ? p.w * p.k : 0, beside = i + 1 < p.w ? p.k : 0;
    a0 = p.logits + ((image * p.h + y) * p.w + i) * p.k;
    a1 = a0 + beside;
    b0 = a0 + below;
    b1 = b0 + beside;
    gentle = make_cell(a0, a1, b0, b1, p.k, p.padded, cell.data(), top);
    if (!p.target.smoothed) return;
    for (int j = 0; j < 4; ++j) {
      smooth[j] = 0;
      for (std::int64_t c = 0; c < p.k; ++c) {
        smooth[j] += static_cast<double>(p.target.smooth[c]) * cell[j * p.padded + c];
      }
    }
  }
  T* blend_pixel(std::int64_t k, T ty, T tx) {
    blend_corners(a0, a1, b0, b1, k, ty, tx, pixel.data());
    return pixel.data();
  }
};

template <class T>
bool all_ignored(const Problem<T>& p, const std::int32_t* labels, std::int64_t count) {
  return std::all_of(labels, labels + count, [&](auto label) { return label == p.target.ignore; });
}

// The loss of a run of output row ty, from sums of exponentials; log_sum where not ignored.
template <class T>
double run_loss(const Problem<T>& p, Corners<T>& at, T ty, const ColumnRun& run,
                const std::int32_t* labels, T* log_sum) {
  T sums[kRunPixels];
  const T start = static_cast<T>(run.start), step = static_cast<T>(run.step);
  run_sums(at.cell.data(), p.padded, ty, start, step, at.work.data(), sums);
  double loss = 0;
  for (std::int64_t j = 0; j < run.count; ++j) {
    if (labels[j] == p.target.ignore) continue;
    const T tx = start + static_cast<T>(j) * step, log = std::log(sums[j]);
    const T v = cell_at(at.cell.data(), p.padded, std::int64_t{labels[j]}, ty, tx);
    log_sum[j] = at.top + log;
    loss += static_cast<double>(p.target.hot[labels[j]]) * (log - v);
    if (!p.target.smoothed) continue;
    const double y = ty, x = tx;
    loss += p.target.smooth_sum * log - at.smooth[0] - y * at.smooth[1] -
            x * (at.smooth[2] + y * at.smooth[3]);
  }
  return loss;
}

// The same pixel by pixel, for any logits.
template <class T>
double exact_loss(const Problem<T>& p, Corners<T>& at, T ty, const ColumnRun& run,
                  const std::int32_t* labels, T* log_sum) {
  double loss = 0;
  for (std::int64_t j = 0; j < run.count; ++j) {
    if (labels[j] == p.target.ignore) continue;
    const T tx = static_cast<T>(run.start + j * run.step);
    const T* v = at.blend_pixel(p.k, ty, tx);
    log_sum[j] = log_sum_exp(v, p.padded);
    loss += pixel_loss(v, p.k, labels[j], log_sum[j], p.target);
  }
  return loss;
}

template <class T>
double interval_loss(const Problem<T>& p, std::int64_t image, std::int64_t y, T* log_sum) {
  Corners<T> at(p.padded);
  double sum = 0;
  for (std::int64_t i = 0; i < p.w; ++i) {
    if (p.run_starts[i] == p.run_starts[i + 1]) continue;
    at.move_to(p, image, y, i);
    p.for_runs(image, y, i, [&](T ty, const ColumnRun& run, std::int64_t pixel) {
      std::fill_n(log_sum + pixel, run.count, T(0));
      if (all_ignored(p, p.labels + pixel, run.count)) return;
      sum += at.gentle && run.count > 1
                 ? run_loss(p, at, ty, run, p.labels + pixel, log_sum + pixel)
                 : exact_loss(p, at, ty, run, p.labels + pixel, log_sum + pixel);
    });
  }
  return sum;
}

template <class T>
double upsampled_loss(const Problem<T>& p, T* log_sum) {
  return sum_of_chunks(p.n * p.h, 1, [&](std::int64_t t, std::int64_t) {
    return interval_loss(p, t / p.h, t % p.h, log_sum);
  });
}

// Gradients of the corners of a cell, [padded] each; a1 is a0 and b1 is b0 at the right border.
template <class T>
struct CornerGradients {
  T *a0, *a1, *b0, *b1;
  void add(std::int64_t c, T ty, T tx, T g) const {
    a0[c] += (T(1) - ty) * (T(1) - tx) * g;
    a1[c] += (T(1) - ty) * tx * g;
    b0[c] += ty * (T(1) - tx) * g;
    b1[c] += ty * tx * g;
  }
};

// The weights of a run's exponentials in the gradients, and the parts of the gradients that are no
// exponentials: minus the target distribution.
template <class T>
void weigh_run(const Problem<T>& p, const ColumnRun& run, T ty, const std::int32_t* labels,
               const T* log_sum, T top, double scale, const CornerGradients<T>& g,
               WeightedRun<T>& to, double* smooth) {
  const T start = static_cast<T>(run.start), step = static_cast<T>(run.step);
  to.ty = splat(ty);
  to.start = splat(start);
  to.step = splat(step);
  for (std::int64_t j = 0; j < kRunPixels; ++j) {
    T q = 0;
    const T tx = start + static_cast<T>(j) * step;
    if (j < run.count && labels[j] != p.target.ignore) {
      const double hot = p.target.hot[labels[j]];
      q = static_cast<T>(scale * (hot + p.target.smooth_sum)) * cpu::exp(top - log_sum[j]);
      g.add(labels[j], ty, tx, -static_cast<T>(scale * hot));
      const double y = ty, x = tx;
      smooth[0] -= scale * (1 - y) * (1 - x);
      smooth[1] -= scale * (1 - y) * x;
      smooth[2] -= scale * y * (1 - x);
      smooth[3] -= scale * y * x;
    }
    to.left[j] = splat((T(1) - tx) * q);
    to.right[j] = splat(tx * q);
  }
}

template <class T>
void exact_gradient(const Problem<T>& p, Corners<T>& at, T ty, const ColumnRun& run,
                    const std::int32_t* labels, const T* log_sum, double scale,
                    const CornerGradients<T>& g) {
  for (std::int64_t j = 0; j < run.count; ++j) {
    if (labels[j] == p.target.ignore) continue;
    const T tx = static_cast<T>(run.start + j * run.step);
    T* v = at.blend_pixel(p.k, ty, tx);
    pixel_gradient(v, p.k, labels[j], log_sum[j], p.target, scale, v);
    for (std::int64_t c = 0; c < p.k; ++c) g.add(c, ty, tx, v[c]);
  }
}

// Buffers of a backward task.
template <class T>
struct Scratch {
  Corners<T> corners;
  std::vector<T> upper, lower;  // gradients of source rows y and y + 1, [w, padded]
  std::vector<WeightedRun<T>> runs;
  explicit Scratch(const Problem<T>& p)
      : corners(p.padded), upper(p.w * p.padded), lower(upper.size()) {}
};

// Adds the gradient of the cell's pixels.
template <class T>
void cell_gradient(const Problem<T>& p, std::int64_t image, std::int64_t y, std::int64_t i,
                   const T* log_sum, double scale, Scratch<T>& s, const CornerGradients<T>& g) {
  double smooth[4] = {};
  s.runs.clear();
  p.for_runs(image, y, i, [&](T ty, const ColumnRun& run, std::int64_t pixel) {
    const std::int32_t* labels = p.labels + pixel;
    if (all_ignored(p, labels, run.count)) return;
    if (!s.corners.gentle || run.count == 1)
      return exact_gradient(p, s.corners, ty, run, labels, log_sum + pixel, scale, g);
    s.runs.emplace_back();
    weigh_run(p, run, ty, labels, log_sum + pixel, s.corners.top, scale, g, s.runs.back(), smooth);
  });
  const auto n = static_cast<std::int64_t>(s.runs.size());
  for (std::int64_t first = 0; first < n; first += kRunBatch) {
    add_run_gradients(s.corners.cell.data(), p.padded, s.runs.data() + first,
                      std::min<std::int64_t>(kRunBatch, n - first), g.a0, g.a1, g.b0, g.b1);
  }
  if (!p.target.smoothed) return;
  T* const corners[4] = {g.a0, g.a1, g.b0, g.b1};
  for (int j = 0; j < 4; ++j) {
    accumulate(p.target.smooth.data(), static_cast<T>(smooth[j]), corners[j], p.k);
  }
}

template <class T>
void copy_row(const std::vector<T>& row, const Problem<T>& p, T* to) {
  for (std::int64_t i = 0; i < p.w; ++i) std::copy_n(row.data() + i * p.padded, p.k, to + i * p.k);
}

// Gradients of source rows [begin, end) of an image from the cells below each, and of row `end`
// from the last of them.
template <class T>
void band_gradient(const Problem<T>& p, std::int64_t image, std::int64_t begin, std::int64_t end,
                   const T* log_sum, double scale, Scratch<T>& s, T* dlogits, T* below) {
  std::fill(s.lower.begin(), s.lower.end(), T(0));
  for (std::int64_t y = begin; y < end; ++y) {
    std::swap(s.upper, s.lower);
    std::fill(s.lower.begin(), s.lower.end(), T(0));
    for (std::int64_t i = 0; i < p.w; ++i) {
      const std::int64_t left = i * p.padded, right = std::min(i + 1, p.w - 1) * p.padded;
      s.corners.move_to(p, image, y, i);
      cell_gradient(p, image, y, i, log_sum, scale, s,
                    {s.upper.data() + left, s.upper.data() + right, s.lower.data() + left,
                     s.lower.data() + right});
    }
    copy_row(s.upper, p, dlogits + (image * p.h + y) * p.w * p.k);
  }
  copy_row(s.lower, p, below);
}

template <class T>
void upsampled_gradient(const Problem<T>& p, const T* log_sum, double scale, T* dlogits) {
  const std::int64_t wide = p.w * p.k, bands = (p.h + kBand - 1) / kBand;
  const Tensor rows = Tensor::empty({p.n * bands, wide}, dtype_of<T>, Device{});
  T* below = rows.data<T>();
  parallel_for(p.n * bands, 1, [&](std::int64_t begin, std::int64_t end) {
    Scratch<T> scratch(p);
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t y = t % bands * kBand;
      band_gradient(p, t / bands, y, std::min(p.h, y + kBand), log_sum, scale, scratch, dlogits,
                    below + t * wide);
    }
  });
  for (std::int64_t t = 0; t < p.n * bands; ++t) {
    const std::int64_t y = (t % bands + 1) * kBand;
    if (y < p.h) add_to(dlogits + (t / bands * p.h + y) * wide, below + t * wide, wide);
  }
}

}  // namespace

CrossEntropyResult CpuBackend::upsample_cross_entropy(const Tensor& logits,
                                                      const CrossEntropyTarget& t) {
  OpScope scope(costs::upsample_cross_entropy(logits, t.labels));
  return dispatch_float(logits.dtype(), "upsample_cross_entropy", [&]<class T>(T) {
    const Target<T> target(t, logits.dim(3));
    Tensor log_sum = Tensor::empty(t.labels.shape(), logits.dtype());
    const Problem<T> problem{logits, t.labels, target};
    return target.result(upsampled_loss(problem, log_sum.data<T>()), log_sum);
  });
}

Tensor CpuBackend::upsample_cross_entropy_backward(const Tensor& logits,
                                                   const CrossEntropyTarget& t,
                                                   const CrossEntropyResult& r,
                                                   const Tensor& dloss) {
  OpScope scope(costs::upsample_cross_entropy_backward(logits, t.labels));
  Tensor dlogits = Tensor::empty(logits.shape(), logits.dtype(), logits.device());
  dispatch_float(logits.dtype(), "upsample_cross_entropy_backward", [&]<class T>(T) {
    const Target<T> target(t, logits.dim(3));
    upsampled_gradient(Problem<T>{logits, t.labels, target}, r.log_sum.data<T>(),
                       dloss.item() / r.normaliser.item(), dlogits.data<T>());
  });
  return dlogits;
}

}  // namespace nextgrad::cpu

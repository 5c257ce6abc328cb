// The argmax of bilinearly resized logits, cell by cell: a cell is what lies between four
// neighbouring source positions. A value inside lies between the corners' smallest and largest, so
// only those classes can win whose largest corner reaches every other class's smallest; in a
// trained network's output that is one class in most cells, which then need no arithmetic at all.
// The candidates left compete pixel by pixel, output columns in the lanes of a vector:
//
//     t:     . . . . . . . .      best, class = -inf, 0
//     left  ----------------->  right of candidate c at this row:  v = (1 - t) left + t right
//                                 v > best ? best = v, class = c  (so the first of equals stays)
//
// A task owns the output rows between two source rows. Bound: one pass over the logits, and about
// 6 operations for a vector of pixels and a candidate.
#include <limits>
#include <vector>

#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/cpu/kit/simd.h"
#include "tensor/cpu/kit/taps.h"
#include "tensor/extents.h"

namespace nextgrad::cpu {
namespace {

template <class T>
struct Corners {
  const T *a0, *a1, *b0, *b1;
};

// The largest corner of each class, high [c]; returns what it must reach.
template <class T>
T find_range(const Corners<T>& at, std::int64_t c, T* high) {
  const T *a0 = at.a0, *a1 = at.a1, *b0 = at.b0, *b1 = at.b1;
  T floor = -std::numeric_limits<T>::infinity(), size = 0, finite = 0;
#pragma omp simd reduction(max : floor, size) reduction(+ : finite)
  for (std::int64_t k = 0; k < c; ++k) {
    const T a_low = a0[k] < a1[k] ? a0[k] : a1[k], a_high = a0[k] < a1[k] ? a1[k] : a0[k];
    const T b_low = b0[k] < b1[k] ? b0[k] : b1[k], b_high = b0[k] < b1[k] ? b1[k] : b0[k];
    const T l = a_low < b_low ? a_low : b_low, u = a_high < b_high ? b_high : a_high;
    const T larger = -l < u ? u : -l;
    high[k] = u;
    floor = l > floor ? l : floor;
    size = larger > size ? larger : size;
    finite += T(0) * (a0[k] + a1[k]) + T(0) * (b0[k] + b1[k]);
  }
  // Blending rounds, so a value may leave the corners' range by a few units in the last place; and
  // where anything is not finite the range says nothing.
  return finite == 0 ? floor - 8 * std::numeric_limits<T>::epsilon() * size
                     : -std::numeric_limits<T>::infinity();
}

// Buffers of one task.
template <class T>
struct Scratch {
  std::vector<T> high, left, right, t, winner;
  std::vector<std::int32_t> candidates;
  explicit Scratch(const ResizeExtents& e)
      : high(e.c), left(high.size()), right(high.size()), winner(e.ow + kLanes<T>) {}
};

template <class T>
void find_candidates(const Corners<T>& at, std::int64_t c, Scratch<T>& s) {
  const T least = find_range(at, c, s.high.data());
  s.candidates.resize(c);
  std::size_t count = 0;
  for (std::int64_t k = 0; k < c; ++k) {
    // Written always and kept where it counts: no branch to mispredict. Not <, so that NaN stays.
    s.candidates[count] = static_cast<std::int32_t>(k);
    count += s.high[k] < least ? 0 : 1;
  }
  s.candidates.resize(count);
}

// winner[i] = the candidate with the largest blend of left and right at t[i]; whole vectors of i.
template <class T>
void compete(const T* left, const T* right, const std::vector<std::int32_t>& candidates, const T* t,
             std::int64_t n, T* winner) {
  for (std::int64_t i = 0; i < n; i += kLanes<T>) {
    const Vec<T> tx = load(t + i), sx = T(1) - tx;
    Vec<T> best = splat(-std::numeric_limits<T>::infinity());
    Vec<T> at = splat(static_cast<T>(candidates.front()));
    for (std::size_t m = 0; m < candidates.size(); ++m) {
      const Vec<T> v = sx * left[m] + tx * right[m];
      const auto wins = v > best;
      best = wins ? v : best;
      at = wins ? splat(static_cast<T>(candidates[m])) : at;
    }
    store(winner + i, at);
  }
}

// Output pixels [begin, end) of the row at `ty`.
template <class T>
void argmax_row(const Corners<T>& at, T ty, std::int64_t begin, std::int64_t end, Scratch<T>& s,
                std::int32_t* y) {
  if (s.candidates.size() == 1) {
    std::fill(y + begin, y + end, s.candidates.front());
    return;
  }
  const T sy = T(1) - ty;
  for (std::size_t m = 0; m < s.candidates.size(); ++m) {
    const std::int32_t k = s.candidates[m];
    s.left[m] = sy * at.a0[k] + ty * at.b0[k];
    s.right[m] = sy * at.a1[k] + ty * at.b1[k];
  }
  compete(s.left.data(), s.right.data(), s.candidates, s.t.data() + begin, end - begin,
          s.winner.data());
  for (std::int64_t i = begin; i < end; ++i) y[i] = static_cast<std::int32_t>(s.winner[i - begin]);
}

template <class T>
void resize_argmax_all(const T* x, std::int32_t* y, const ResizeExtents& e) {
  const std::vector<Tap> rows = make_taps(e.h, e.oh, Resize::bilinear);
  const std::vector<Tap> columns = make_taps(e.w, e.ow, Resize::bilinear);
  const std::vector<std::int64_t> row_starts = starts_of(rows, e.h);
  const std::vector<std::int64_t> column_starts = starts_of(columns, e.w);
  parallel_for(e.n * e.h, 1, [&](std::int64_t begin, std::int64_t end) {
    Scratch<T> s(e);
    for (const Tap& tap : columns) s.t.push_back(static_cast<T>(tap.t));
    s.t.resize(columns.size() + kLanes<T>);
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t image = task / e.h, row = task % e.h;
      const T* above = x + task * e.w * e.c;
      const T* below = row + 1 < e.h ? above + e.w * e.c : above;
      if (row_starts[row] == row_starts[row + 1]) continue;
      for (std::int64_t i = 0; i < e.w; ++i) {
        const std::int64_t from = column_starts[i];
        const std::int64_t to = column_starts[i + 1];
        if (from == to) continue;
        const std::int64_t left = i * e.c, right = std::min(i + 1, e.w - 1) * e.c;
        const Corners<T> at{above + left, above + right, below + left, below + right};
        find_candidates(at, e.c, s);
        for (std::int64_t o = row_starts[row]; o < row_starts[row + 1]; ++o) {
          argmax_row(at, static_cast<T>(rows[o].t), from, to, s, y + (image * e.oh + o) * e.ow);
        }
      }
    }
  });
}

}  // namespace

Tensor CpuBackend::resize_argmax(const Tensor& x, std::int64_t h, std::int64_t w) {
  const ResizeExtents e = resize_extents("resize_argmax", x.shape(), h, w);
  check(e.c > 0, "resize_argmax: no channels in {}", x.shape());
  Tensor y = Tensor::empty({e.n, h, w}, DType::i32, x.device());
  OpScope scope(costs::resize_argmax(x, h, w));
  dispatch_float(x.dtype(), "resize_argmax", [&](auto zero) {
    resize_argmax_all(x.data<decltype(zero)>(), y.data<std::int32_t>(), e);
  });
  return y;
}

}  // namespace nextgrad::cpu

// Depth-wise convolutions, fast paths and general ones, against plain loops in double.
#include "tests/tensor/kernel_test.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

struct Case {
  std::int64_t n, h, w, c;
  Window window;
};

Window same(int kh, int kw) {
  return {.kh = kh, .kw = kw, .pad_h = kh / 2, .pad_w = kw / 2};
}

// 3x3 and 5x5 with whole and broken cache lines of channels, images smaller than the window, one
// pixel, one row, one column, several tiles; strips; strides, dilations and other paddings.
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int k : {3, 5})
    for (const auto& [h, w] : std::vector<std::pair<int, int>>{
             {1, 1}, {1, 9}, {7, 1}, {2, 3}, {5, 7}, {17, 41}, {33, 12}})
      for (const std::int64_t c : {1, 5, 8, 16, 19, 32, 48})
        all.push_back({c == 32 ? 2 : 1, h, w, c, same(k, k)});
  for (const std::int64_t c : {3, 16, 33}) {
    all.push_back({1, 9, 40, c, same(1, 21)});
    all.push_back({2, 40, 3, c, same(11, 1)});
    all.push_back({1, 2, 2, c, same(7, 7)});
    all.push_back({1, 9, 8, c, {3, 3, 2, 2, 1, 1, 1, 1}});
    all.push_back({1, 9, 8, c, {3, 3, 1, 1, 2, 0, 2, 2}});
    all.push_back({1, 9, 8, c, {5, 5, 1, 1, 0, 0, 1, 1}});
    all.push_back({1, 9, 8, c, {3, 2, 2, 3, 1, 2, 1, 1}});
  }
  return all;
}

// Calls fn(output index, input index, tap) for every product of one channel-less image batch.
template <class Fn>
void each_product(const Case& k, Fn&& fn) {
  const Window& w = k.window;
  for (std::int64_t n = 0; n < k.n; ++n)
    for (std::int64_t oy = 0; oy < w.out_h(k.h); ++oy)
      for (std::int64_t ox = 0; ox < w.out_w(k.w); ++ox)
        for (std::int64_t t = 0; t < w.kh * w.kw; ++t) {
          const std::int64_t y = oy * w.stride_h - w.pad_h + t / w.kw * w.dilation_h;
          const std::int64_t x = ox * w.stride_w - w.pad_w + t % w.kw * w.dilation_w;
          if (y < 0 || y >= k.h || x < 0 || x >= k.w) continue;
          fn((n * w.out_h(k.h) + oy) * w.out_w(k.w) + ox, (n * k.h + y) * k.w + x, t);
        }
}

struct Inputs {
  Tensor x, weight, bias, base, dy;
};

template <class T>
Inputs inputs(const Case& k) {
  const Shape out{k.n, k.window.out_h(k.h), k.window.out_w(k.w), k.c};
  return {random_tensor<T>({k.n, k.h, k.w, k.c}, 1),
          random_tensor<T>({k.window.kh, k.window.kw, k.c}, 2), random_tensor<T>({k.c}, 3),
          random_tensor<T>(out, 4), random_tensor<T>(out, 5)};
}

Doubles forward(const Case& k, const Inputs& in, bool bias, bool base) {
  const Doubles x = numbers(in.x), w = numbers(in.weight), b = numbers(in.bias);
  Doubles y = base ? numbers(in.base) : Doubles(at(in.base.numel()), 0);
  for (std::size_t i = 0; i < y.size() && bias; ++i) y[i] += b[i % at(k.c)];
  each_product(k, [&](std::int64_t o, std::int64_t i, std::int64_t t) {
    for (std::int64_t c = 0; c < k.c; ++c)
      y[at(o * k.c + c)] += x[at(i * k.c + c)] * w[at(t * k.c + c)];
  });
  return y;
}

template <class T>
void check_forward(const Case& k) {
  const Inputs in = inputs<T>(k);
  for (const bool bias : {false, true})
    for (const bool base : {false, true}) {
      const Tensor y = tested().depthwise(in.x, in.weight, bias ? in.bias : Tensor(),
                                          base ? in.base : Tensor(), k.window);
      CHECK(worst(y, forward(k, in, bias, base)) < tolerance<T>());
    }
}

template <class T>
void check_backward(const Case& k) {
  const Inputs in = inputs<T>(k);
  const Doubles x = numbers(in.x), w = numbers(in.weight), dy = numbers(in.dy);
  Doubles dx(x.size(), 0), dw(w.size(), 0), db(at(k.c), 0);
  each_product(k, [&](std::int64_t o, std::int64_t i, std::int64_t t) {
    for (std::int64_t c = 0; c < k.c; ++c) {
      dx[at(i * k.c + c)] += dy[at(o * k.c + c)] * w[at(t * k.c + c)];
      dw[at(t * k.c + c)] += dy[at(o * k.c + c)] * x[at(i * k.c + c)];
    }
  });
  for (std::size_t i = 0; i < dy.size(); ++i) db[i % at(k.c)] += dy[i];
  for (int mask = 1; mask < 8; ++mask) {
    const Needs needs{(mask & 1) != 0, (mask & 2) != 0, (mask & 4) != 0};
    const ConvGradients g = tested().depthwise_backward(in.x, in.weight, in.dy, k.window, needs);
    CHECK(g.dx.defined() == needs.dx);
    if (needs.dx) CHECK(worst(g.dx, dx) < tolerance<T>());
    // Sums over pixels whose terms cancel.
    if (needs.dweight) CHECK(worst(g.dweight, dw) < 5 * tolerance<T>());
    if (needs.dbias) CHECK(worst(g.dbias, db) < 5 * tolerance<T>());
  }
}

}  // namespace

TEST_CASE("depth-wise convolution against plain loops") {
  for (const Case& k : cases()) {
    CAPTURE(k.h);
    CAPTURE(k.w);
    CAPTURE(k.c);
    CAPTURE(k.window.kh);
    check_forward<float>(k);
    check_forward<double>(k);
    check_backward<float>(k);
    check_backward<double>(k);
  }
}

TEST_CASE("depth-wise convolution does not depend on the number of threads") {
  for (const int size : {3, 5}) {
    const Case k{2, 40, 70, 32, same(size, size)};
    const Inputs in = inputs<float>(k);
    const auto [y1, y3] =
        with_threads([&] { return tested().depthwise(in.x, in.weight, in.bias, {}, k.window); });
    CHECK(numbers(y1) == numbers(y3));
    const auto [g1, g3] = with_threads(
        [&] { return tested().depthwise_backward(in.x, in.weight, in.dy, k.window, {}); });
    CHECK(numbers(g1.dx) == numbers(g3.dx));
    CHECK(numbers(g1.dweight) == numbers(g3.dweight));
    CHECK(numbers(g1.dbias) == numbers(g3.dbias));
  }
}

// Adaptive average pooling against plain loops.
#include <algorithm>

#include "nn/pool.h"
#include "tests/autograd/check.h"

using namespace nextgrad;
using namespace nextgrad::test;

namespace {

std::vector<double> pooled(const Tensor& t, std::int64_t h, std::int64_t w) {
  const std::vector<double> x = t.to_vector<double>();
  const std::int64_t n = t.dim(0), height = t.dim(1), width = t.dim(2), channels = t.dim(3);
  std::vector<double> y;
  for (std::int64_t b = 0; b < n; ++b)
    for (std::int64_t i = 0; i < h; ++i)
      for (std::int64_t j = 0; j < w; ++j)
        for (std::int64_t c = 0; c < channels; ++c) {
          const std::int64_t top = i * height / h, bottom = ((i + 1) * height + h - 1) / h;
          const std::int64_t left = j * width / w, right = ((j + 1) * width + w - 1) / w;
          double sum = 0;
          for (std::int64_t r = top; r < bottom; ++r)
            for (std::int64_t s = left; s < right; ++s)
              sum += x[static_cast<std::size_t>(((b * height + r) * width + s) * channels + c)];
          y.push_back(sum / static_cast<double>((bottom - top) * (right - left)));
        }
  return y;
}

}  // namespace

TEST_CASE("adaptive average pooling: sizes that divide or not, and above the image's") {
  for (const auto& [height, width] : {std::pair{8, 8}, {7, 5}, {3, 4}, {1, 1}, {2, 9}})
    for (const auto& [h, w] : {std::pair{1, 1}, {2, 2}, {3, 3}, {6, 6}, {2, 3}}) {
      CAPTURE(height);
      CAPTURE(width);
      CAPTURE(h);
      CAPTURE(w);
      const Variable x = leaf({2, height, width, 3}, 1);
      const Variable y = adaptive_average_pool(x, h, w);
      CHECK(y.shape() == Shape{2, h, w, 3});
      CHECK(difference(y.value().to_vector<double>(), pooled(x.value(), h, w)) < 1e-14);
    }
}

TEST_CASE("adaptive average pooling: gradients") {
  for (const auto& [h, w] : {std::pair{1, 1}, {3, 2}, {6, 6}})
    require_op([h = h, w = w](const auto& in) { return adaptive_average_pool(in[0], h, w); },
               {strided_leaf({2, 5, 4, 3}, 1)});
}

TEST_CASE("adaptive average pooling: what is refused") {
  CHECK_THROWS_AS(adaptive_average_pool(leaf({5, 4, 3}, 1), 1, 1), Error);
  CHECK_THROWS_AS(adaptive_average_pool(leaf({1, 5, 4, 3}, 1), 0, 1), Error);
  CHECK_THROWS_AS(adaptive_average_pool(Variable(Tensor::zeros({1, 0, 4, 3})), 1, 1), Error);
}

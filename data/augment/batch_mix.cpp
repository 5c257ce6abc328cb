#include "data/augment/batch_mix.h"

#include <algorithm>
#include <cmath>

#include "data/augment/random_use.h"
#include "tensor/error.h"

namespace nextgrad {
namespace {

// Marsaglia and Tsang 2000.
double gamma(double shape, RandomStream& random) {
  if (shape < 1) return gamma(shape + 1, random) * std::pow(1 - random.uniform(), 1 / shape);
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = random.normal(), u = 1 - random.uniform();
    const double v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(u) < 0.5 * x * x + d * (1 - v + std::log(v))) return d * v;
  }
}

double beta(double alpha, RandomStream& random) {
  const double a = gamma(alpha, random), b = gamma(alpha, random);
  return a + b > 0 ? a / (a + b) : 0.5;
}

// A box of the share 1 - lambda about a point anywhere, cut at the border.
Rectangle draw_box(double lambda, std::int64_t height, std::int64_t width, RandomStream& random) {
  const double ratio = std::sqrt(1 - lambda);
  const auto span = [&](std::int64_t n) {
    const auto half = static_cast<std::int64_t>(static_cast<double>(n) * ratio) / 2;
    const std::int64_t centre = below(n, random);
    return std::pair(std::max<std::int64_t>(0, centre - half), std::min(n, centre + half));
  };
  const auto [top, bottom] = span(height);
  const auto [left, right] = span(width);
  return {top, left, bottom - top, right - left};
}

// Pixels a and b of two samples become lambda a + (1 - lambda) b and the reverse.
void mix_pair(float* a, float* b, std::size_t n, float lambda) {
  for (std::size_t i = 0; i < n; ++i) {
    const float x = a[i], y = b[i];
    a[i] = lambda * x + (1 - lambda) * y;
    b[i] = lambda * y + (1 - lambda) * x;
  }
}

}  // namespace

MixPlan BatchMix::plan(const RandomKey& key, std::int64_t height, std::int64_t width) const {
  MixPlan plan;
  if (!enabled()) return plan;
  RandomStream random(key);
  const bool both = mixup_alpha > 0 && cutmix_alpha > 0;
  plan.cut = both ? random.chance(switch_to_cutmix) : cutmix_alpha > 0;
  plan.lambda = beta(plan.cut ? cutmix_alpha : mixup_alpha, random);
  if (!plan.cut) return plan;
  plan.box = draw_box(plan.lambda, height, width, random);
  plan.lambda = 1 - static_cast<double>(plan.box.height * plan.box.width) /
                        static_cast<double>(height * width);
  return plan;
}

void mix_images(std::span<float> images, std::int64_t n, std::int64_t height, std::int64_t width,
                const MixPlan& plan) {
  const std::int64_t sample = height * width * 3;
  check(images.size() == static_cast<std::size_t>(n * sample), "mixing: {} numbers for {} samples",
        images.size(), n);
  if (plan.lambda == 1) return;
  for (std::int64_t k = 0; k < n / 2; ++k) {  // the middle one of an odd batch is its own partner
    float *a = images.data() + k * sample, *b = images.data() + (n - 1 - k) * sample;
    if (!plan.cut) {
      mix_pair(a, b, static_cast<std::size_t>(sample), static_cast<float>(plan.lambda));
      continue;
    }
    for (std::int64_t y = plan.box.top; y < plan.box.top + plan.box.height; ++y) {
      const std::int64_t at = 3 * (y * width + plan.box.left);
      std::swap_ranges(a + at, a + at + 3 * plan.box.width, b + at);
    }
  }
}

Tensor soft_targets(const Tensor& labels, std::int64_t classes, double smoothing,
                    const MixPlan& plan) {
  const auto own = labels.to_vector<std::int32_t>();
  const std::size_t n = own.size(), k = static_cast<std::size_t>(classes);
  std::vector<float> targets(n * k, static_cast<float>(smoothing / static_cast<double>(classes)));
  for (const std::int32_t label : own)
    check(label >= 0 && label < classes, "label {} of {} classes", label, classes);
  for (std::size_t i = 0; i < n; ++i) {
    const std::int32_t mine = own[i], other = own[n - 1 - i];
    targets[i * k + static_cast<std::size_t>(mine)] +=
        static_cast<float>((1 - smoothing) * plan.lambda);
    targets[i * k + static_cast<std::size_t>(other)] +=
        static_cast<float>((1 - smoothing) * (1 - plan.lambda));
  }
  return Tensor::from(targets, {labels.numel(), classes});
}

}  // namespace nextgrad

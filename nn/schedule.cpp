#include "nn/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/error.h"

namespace nextgrad {

double Schedule::lr(std::int64_t iteration) const {
  const double done =
      iterations <= 0
          ? 1
          : std::clamp(static_cast<double>(iteration) / static_cast<double>(iterations), 0.0, 1.0);
  double regular = base_lr;
  if (kind == Kind::polynomial) regular = (base_lr - min_lr) * std::pow(1 - done, power) + min_lr;
  if (kind == Kind::cosine) {
    regular = (base_lr - min_lr) * (1 + std::cos(std::numbers::pi * done)) / 2 + min_lr;
  }
  if (iteration >= warmup) return regular;
  const double progress = static_cast<double>(iteration) / static_cast<double>(warmup);
  return regular * (1 - (1 - progress) * (1 - warmup_ratio));
}

Schedule::Kind parse_schedule(std::string_view name) {
  if (name == "poly" || name == "polynomial") return Schedule::Kind::polynomial;
  if (name == "cosine") return Schedule::Kind::cosine;
  if (name == "constant") return Schedule::Kind::constant;
  fail_input("unknown learning-rate schedule '{}'; use poly, cosine or constant", name);
}

}  // namespace nextgrad

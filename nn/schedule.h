// Learning rate as a pure function of the iteration (0-based).
#pragma once

#include <cstdint>
#include <string_view>

namespace nextgrad {

struct Schedule {
  enum class Kind { constant, polynomial, cosine };
  Kind kind = Kind::polynomial;
  double base_lr = 6e-5;
  double min_lr = 0;
  std::int64_t iterations = 160000;  // where the decay ends
  double power = 1;                  // polynomial
  std::int64_t warmup = 1500;
  double warmup_ratio = 1e-6;

  // decay(i) = (base - min) (1 - i / iterations)^power + min, or
  //            (base - min) (1 + cos(pi i / iterations)) / 2 + min;
  // below `warmup`: decay(i) (1 - (1 - i / warmup) (1 - warmup_ratio)). Beyond the end: min_lr.
  double lr(std::int64_t iteration) const;
};

// "poly" or "polynomial", "cosine", "constant"; throws InputError.
Schedule::Kind parse_schedule(std::string_view name);

}  // namespace nextgrad

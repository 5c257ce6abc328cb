// What random tensors are made of, the same on every device: four numbers of type C from the words
// of a Philox block. constexpr, so that kernels may call it.
#pragma once

#include <cmath>
#include <numbers>

#include "tensor/error.h"
#include "tensor/random.h"

namespace nextgrad {

constexpr double kDrawUnit = 1.0 / 16777216.0;  // 2^-24: the upper 24 bits of a word count

struct UniformDraw {
  template <class C>
  constexpr void operator()(const PhiloxBlock& words, C (&out)[4]) const {
    for (int i = 0; i < 4; ++i) out[i] = static_cast<C>((words[i] >> 8) * kDrawUnit);
  }
};

// In pairs (Box and Muller, 1958) from words 0, 1 and 2, 3; the first uniform lies in (0, 1].
struct NormalDraw {
  template <class C>
  constexpr void operator()(const PhiloxBlock& words, C (&out)[4]) const {
    for (int i = 0; i < 4; i += 2) {
      const double radius = std::sqrt(-2.0 * std::log((words[i] >> 8) * kDrawUnit + kDrawUnit));
      const double angle = 2.0 * std::numbers::pi * ((words[i + 1] >> 8) * kDrawUnit);
      out[i] = static_cast<C>(radius * std::cos(angle));
      out[i + 1] = static_cast<C>(radius * std::sin(angle));
    }
  }
};

struct MaskDraw {
  double p, kept;  // 0 with probability p, else `kept`
  template <class C>
  constexpr void operator()(const PhiloxBlock& words, C (&out)[4]) const {
    for (int i = 0; i < 4; ++i)
      out[i] = (words[i] >> 8) * kDrawUnit < p ? C(0) : static_cast<C>(kept);
  }
};

// Of a dropout mask; throws unless p is a probability.
inline MaskDraw mask_draw(double p) {
  check(p >= 0 && p <= 1, "dropout_mask: probability {} is outside [0, 1]", p);
  return {p, p < 1 ? 1 / (1 - p) : 0};
}

}  // namespace nextgrad

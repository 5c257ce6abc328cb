// Elementary functions as plain branch-free code, so that GCC vectorises the loops that call them.
// float uses polynomials of its own (the library's functions do not vectorise); double uses
// <cmath>. NaN goes in, NaN comes out, everywhere.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace nextgrad::cpu {

// e^x for x up to 88.7: x = n ln 2 + r, a polynomial in r (Cephes, expf.c) times 2^n, which is
// added to the exponent's bits; relative error below 2e-7. In float 2^-125 below -86.6.
[[gnu::always_inline]] inline float bounded_exp(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -86.6f ? -86.6f : x;
  const float shifted = x * 1.44269504088896341f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f, r2 = r * r;
  const float p =
      (1.9875691500e-4f * r + 1.3981999507e-3f) * (r2 * r2) +
      ((8.3334519073e-3f * r + 4.1665795894e-2f) * r2 + (1.6666665459e-1f * r + 5.0000001201e-1f));
  const float y = p * r2 + (r + 1.0f);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(y) +
                              (std::bit_cast<std::uint32_t>(shifted) << 23));
}
[[gnu::always_inline]] inline double bounded_exp(double x) {
  return std::exp(x);
}

// e^x: infinity where float overflows, 0 below e^-86.5 = 2.7e-38 (no denormals).
[[gnu::always_inline]] inline float exp(float x) {
  const float y = bounded_exp(x), low = x < -86.5f ? 0.0f : y;
  const float number = x > 88.72283f ? std::numeric_limits<float>::infinity() : low;
  return x == x ? number : x;
}
[[gnu::always_inline]] inline double exp(double x) {
  return std::exp(x);
}

// erf(x): x P(x^2) / Q(x^2) (the rational approximation of XLA), +-1 from where float rounds it to
// 1; absolute error below 4e-7. Terms are summed in pairs: so rounded, GELU stays within 1e-6.
[[gnu::always_inline]] inline float erf(float x) {
  constexpr float kOne = 3.832506856900711f;
  float a = x < -kOne ? -kOne : x;
  a = a > kOne ? kOne : a;
  const float s = a * a, s2 = s * s, s4 = s2 * s2;
  const float p =
      2.2905065861350646e-4f * s4 + ((3.4082910107109506e-3f * s + 5.0955695062380861e-2f) * s2 +
                                     (1.8520832239976145e-1f * s + 1.128379143519084f));
  const float q =
      (-1.1791602954361697e-7f * s2 + (2.3547966471313185e-5f * s + 1.0179625278914885e-3f)) * s4 +
      ((1.4070470171167667e-2f * s + 1.1098505178285362e-1f) * s2 +
       (4.9746925110067538e-1f * s + 1.0f));
  // Exactly +-1 at the ends, so that x Phi(x) vanishes for large negative x.
  const float y = a * p / q;
  const float low = x <= -kOne ? -1.0f : y;
  return x >= kOne ? 1.0f : low;
}
[[gnu::always_inline]] inline double erf(double x) {
  return std::erf(x);
}

// Phi(x), the normal distribution function.
template <class T>
[[gnu::always_inline]] inline T normal_cdf(T x) {
  return T(0.5) * (T(1) + erf(x * T(0.70710678118654752440)));
}

// GELU: x Phi(x); absolute error below 1e-6 in float.
template <class T>
[[gnu::always_inline]] inline T gelu(T x) {
  return x * normal_cdf(x);
}

// d GELU / dx = Phi(x) + x phi(x), phi the normal density. In float both come from one e^(-x^2/2):
// Phi(-|x|) = t P(t) e^(-x^2/2), t = 1 / (1 + p |x| / sqrt 2) (Abramowitz and Stegun 7.1.26);
// absolute error below 4e-7.
[[gnu::always_inline]] inline float gelu_grad(float x) {
  const float e = bounded_exp(-0.5f * x * x);
  const float a = x < 0.0f ? -x : x;
  const float t = 1.0f / (1.0f + a * 0.23164190f), t2 = t * t;
  const float p =
      (0.53070271f * t2 + (-0.72657601f * t + 0.71070687f)) * t2 + (-0.14224837f * t + 0.12741480f);
  const float tail = p * t * e;
  return (x < 0.0f ? tail : 1.0f - tail) + x * e * 0.39894228f;
}
[[gnu::always_inline]] inline double gelu_grad(double x) {
  return normal_cdf(x) + x * (0.39894228040143267794 * exp(-0.5 * x * x));
}

// What the elementwise ops compute with (tensor/elementwise.h).
struct Math {
  [[gnu::always_inline]] static auto exp(auto x) { return cpu::exp(x); }
  [[gnu::always_inline]] static auto expm1(auto x) { return std::expm1(x); }
  [[gnu::always_inline]] static auto log(auto x) { return std::log(x); }
  [[gnu::always_inline]] static auto log1p(auto x) { return std::log1p(x); }
  [[gnu::always_inline]] static auto sqrt(auto x) { return std::sqrt(x); }
  [[gnu::always_inline]] static auto tanh(auto x) { return std::tanh(x); }
  [[gnu::always_inline]] static auto gelu(auto x) { return cpu::gelu(x); }
  [[gnu::always_inline]] static auto gelu_slope(auto x) { return gelu_grad(x); }
};

}  // namespace nextgrad::cpu

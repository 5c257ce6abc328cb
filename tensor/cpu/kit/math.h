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

// The polynomial in t of these coefficients, the highest first, by Horner's rule.
[[gnu::always_inline]] inline float polynomial(float t, float highest, auto... others) {
  float p = highest;
  ((p = p * t + others), ...);
  return p;
}

// Phi(x), the normal distribution function.
[[gnu::always_inline]] inline double normal_cdf(double x) {
  return 0.5 * (1 + std::erf(x * 0.70710678118654752440));
}

// GELU: x Phi(x) = max(x, 0) - |x| Phi(-|x|). In float Phi(-a) is a polynomial in t = 2 a / 5.2 - 1
// up to 5.2 (the one whose largest error of a Phi(-a) is least) and stays what it is there;
// absolute error below 1e-6, and no division, which took as long as all else. As integers numbers
// above 0 are in the same order, and the smaller of two is one instruction.
[[gnu::always_inline]] inline float gelu(float x) {
  constexpr float kEnd = 5.2f;
  constexpr auto end = std::bit_cast<std::uint32_t>(kEnd);
  const auto size = std::bit_cast<std::uint32_t>(std::fabs(x));
  const float a = std::bit_cast<float>(size < end ? size : end);
  const float t = a * (2 / kEnd) - 1.0f;
  const float p =
      polynomial(t, 0.00241681351f, 0.00426947558f, -0.0257869475f, 0.00149967615f, 0.0796758384f,
                 -0.0741649643f, -0.0767310113f, 0.192868009f, -0.106723346f, -0.109995902f,
                 0.253125489f, -0.229150757f, 0.119352765f, -0.0353162736f, 0.00466130069f);
  return (x < 0.0f ? 0.0f : x) - a * p;  // NaN stays NaN
}
[[gnu::always_inline]] inline double gelu(double x) {
  return x * normal_cdf(x);
}

// d GELU / dx = Phi(x) + x phi(x), phi the normal density; of -a it is 1 minus that of a. In float
// Phi(-a) - a phi(a) is a polynomial in t = 2 a / 5.6 - 1 up to 5.6 and stays what it is there;
// absolute error below 9e-7.
[[gnu::always_inline]] inline float gelu_grad(float x) {
  constexpr float kEnd = 5.6f;
  const float size = std::fabs(x), a = size > kEnd ? kEnd : size;  // NaN stays NaN
  const float t = a * (2 / kEnd) - 1.0f;
  const float p = polynomial(t, 0.0495826006f, -0.0983282253f, -0.209374949f, 0.563811004f,
                             0.173344493f, -1.31269479f, 0.660973489f, 1.28454578f, -1.7868861f,
                             0.237362146f, 1.33260906f, -1.36081123f, 0.382916331f, 0.306683868f,
                             -0.333556592f, 0.12943095f, -0.0196085367f);
  return x < 0.0f ? p : 1.0f - p;
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

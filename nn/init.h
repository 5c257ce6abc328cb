// How parameters begin. Numbers come from (seed, hash of the parameter's name), so that they depend
// neither on the order of construction nor on what else the model holds.
#pragma once

#include <cstdint>
#include <string_view>

#include "tensor/tensor.h"

namespace nextgrad {

class Module;

struct Init {
  enum class Kind { constant, normal, truncated_normal };
  Kind kind = Kind::constant;
  double scale = 0;  // the constant or the standard deviation

  static Init constant(double value) { return {Kind::constant, value}; }
  static Init normal(double deviation) { return {Kind::normal, deviation}; }
  // Cut at two standard deviations (drawn again beyond).
  static Init truncated_normal(double deviation) { return {Kind::truncated_normal, deviation}; }
  // N(0, sqrt(2 / (kh kw out / groups))): He et al. 2015, "fan out".
  static Init fan_out(std::int64_t kh, std::int64_t kw, std::int64_t out, std::int64_t groups = 1);
};

// New host values of `shape` for the parameter called `name`.
Tensor draw(const Init& init, const Shape& shape, std::uint64_t seed, std::string_view name,
            DType dtype = DType::f32);
// Draws every parameter of the module anew by its own Init, keeping dtype and device.
void init_parameters(Module& module, std::uint64_t seed);

// 64-bit FNV-1a.
std::uint64_t hash_name(std::string_view name);

}  // namespace nextgrad

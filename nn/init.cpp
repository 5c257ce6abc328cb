#include "nn/init.h"

#include <cmath>
#include <vector>

#include "nn/module.h"
#include "tensor/random.h"

namespace nextgrad {

Init Init::fan_out(std::int64_t kh, std::int64_t kw, std::int64_t out, std::int64_t groups) {
  return normal(std::sqrt(2.0 / static_cast<double>(kh * kw * out / groups)));
}

std::uint64_t hash_name(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3u;
  }
  return hash;
}

namespace {

double draw_one(const Init& init, RandomStream& stream) {
  switch (init.kind) {
    case Init::Kind::constant:
      break;
    case Init::Kind::normal:
      return init.scale * stream.normal();
    case Init::Kind::truncated_normal:
      for (;;) {
        const double z = stream.normal();
        if (std::abs(z) <= 2) return init.scale * z;
      }
  }
  return init.scale;
}

}  // namespace

Tensor draw(const Init& init, const Shape& shape, std::uint64_t seed, std::string_view name,
            DType dtype) {
  RandomStream stream({.seed = seed, .iteration = hash_name(name)});
  std::vector<double> values(static_cast<std::size_t>(shape.numel()));
  for (double& v : values) v = draw_one(init, stream);
  return Tensor::from(values, shape).to(dtype);
}

void init_parameters(Module& module, std::uint64_t seed) {
  for (const Parameter& p : module.named_parameters()) {
    const Tensor& old = p.value.value();
    p.value.set_value(draw(p.init, old.shape(), seed, p.name, old.dtype()).to(old.device()));
  }
}

}  // namespace nextgrad

// Random tensors: element i is number j = key.first + i, word j % 4 of Philox block j / 4
// (tensor/draws.h), so that any split over threads gives the same numbers.
#include "tensor/costs.h"
#include "tensor/cpu/cpu_backend.h"
#include "tensor/cpu/kit/parallel.h"
#include "tensor/draws.h"

namespace nextgrad::cpu {
namespace {

template <class Draw>
Tensor random(const char* name, const Shape& shape, DType dtype, const RandomKey& key,
              const Draw& draw) {
  Tensor out = Tensor::empty(shape, dtype);
  const std::int64_t n = out.numel();
  OpScope scope(costs::PerElement{name, 0, 1}(out));
  dispatch_float(dtype, name, [&]<class T>(T) {
    const auto skip = static_cast<std::int64_t>(key.first % 4);  // numbers of block 0
    const std::int64_t blocks = (skip + n + 3) / 4;
    parallel_each(blocks, 4096, [&, mixed = key.mixed(), to = out.data<T>()](std::int64_t b) {
      T values[4];
      draw(philox(key.first / 4 + static_cast<std::uint64_t>(b), 0, 0, mixed), values);
      const std::int64_t at = 4 * b - skip;  // the element that values[0] is
      for (std::int64_t i = std::max<std::int64_t>(0, -at); i < 4 && at + i < n; ++i)
        to[at + i] = values[i];
    });
  });
  return out;
}

}  // namespace

Tensor CpuPrimitives::random_uniform(const Shape& shape, DType dtype, const RandomKey& key) {
  return random("random_uniform", shape, dtype, key, UniformDraw{});
}

Tensor CpuPrimitives::random_normal(const Shape& shape, DType dtype, const RandomKey& key) {
  return random("random_normal", shape, dtype, key, NormalDraw{});
}

Tensor CpuPrimitives::dropout_mask(const Shape& shape, DType dtype, double p,
                                   const RandomKey& key) {
  return random("dropout_mask", shape, dtype, key, mask_draw(p));
}

}  // namespace nextgrad::cpu

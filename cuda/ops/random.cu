// Random tensors: element i is number j = key.first + i, word j % 4 of Philox block j / 4
// (tensor/draws.h), a thread a block, so that they are those of every other device. The stream's
// key is mixed on the device, as a replayed step draws for its own iteration.
#include <algorithm>

#include "cuda/device/cuda_backend.h"
#include "cuda/kit/kernel.h"
#include "tensor/costs.h"
#include "tensor/draws.h"

namespace nextgrad::cuda {
namespace {

template <class T, class Draw>
__global__ void generate(T* out, std::int64_t n, const RandomKey key, const Progress* progress,
                         Draw draw) {
  RandomKey now = key;  // of the iteration that is being replayed
  now.iteration += progress->iterations;
  const std::uint64_t mixed = now.mixed();
  const auto skip = static_cast<std::int64_t>(key.first % 4);  // numbers of block 0
  for (std::int64_t b = global_index(); b < (skip + n + 3) / 4; b += global_threads()) {
    const PhiloxBlock words = philox(key.first / 4 + static_cast<std::uint64_t>(b), 0, 0, mixed);
    Compute<T> values[4];
    draw(words, values);
    for (int i = 0; i < 4; ++i) {
      const std::int64_t at = 4 * b + i - skip;
      if (at >= 0 && at < n) out[at] = narrow<T>(values[i]);
    }
  }
}

}  // namespace

template <class Draw>
Tensor CudaBackend::random(const char* name, const Shape& shape, DType dtype, const RandomKey& key,
                           const Draw& draw) {
  Tensor out = empty(shape, dtype);
  const std::int64_t n = out.numel();
  Scope scope(*this, costs::PerElement{name, 0, 1}(out));
  if (n == 0) return out;
  dispatch_activation(dtype, name, [&]<class T>() {
    launch(name, generate<T, Draw>, grid_for(parts_of(n, 4), kThreads, 2048), stream_, out, n, key,
           progress_, draw);
  });
  return out;
}

Tensor CudaBackend::random_uniform(const Shape& shape, DType dtype, const RandomKey& key) {
  return random("random_uniform", shape, dtype, key, UniformDraw{});
}

Tensor CudaBackend::random_normal(const Shape& shape, DType dtype, const RandomKey& key) {
  return random("random_normal", shape, dtype, key, NormalDraw{});
}

namespace {

// Probabilities of masks that one launch draws.
struct MaskTable {
  static constexpr int kMost = 256;
  MaskDraw draw[kMost];
};

// blockIdx.y is the number of a mask of n numbers.
template <class T>
__global__ void draw_masks(T* out, std::int64_t n, const RandomKey first, const Progress* progress,
                           const MaskTable masks) {
  RandomKey key = first;
  key.iteration += progress->iterations;
  key.use += blockIdx.y;
  const std::uint64_t mixed = key.mixed();
  for (std::int64_t b = global_index(); b < (n + 3) / 4; b += global_threads()) {
    Compute<T> values[4];
    masks.draw[blockIdx.y](philox(static_cast<std::uint64_t>(b), 0, 0, mixed), values);
    for (int i = 0; i < 4 && 4 * b + i < n; ++i)
      out[blockIdx.y * n + 4 * b + i] = narrow<T>(values[i]);
  }
}

}  // namespace

Tensor CudaBackend::dropout_masks(std::int64_t n, DType dtype, const std::vector<double>& p,
                                  const RandomKey& first) {
  if (p.empty() || p.size() > MaskTable::kMost || first.first != 0 || n == 0)
    return Fused::dropout_masks(n, dtype, p, first);
  Tensor out = empty({static_cast<std::int64_t>(p.size()), n}, dtype);
  Scope scope(*this, costs::dropout_masks(out));
  MaskTable masks{};
  std::ranges::transform(p, masks.draw, mask_draw);
  dispatch_activation(dtype, "dropout_mask", [&]<class T>() {
    launch("dropout_masks", draw_masks<T>, {dim3(parts_of(parts_of(n, 4), 32), p.size()), dim3(32)},
           stream_, out, n, first, progress_, masks);
  });
  return out;
}

Tensor CudaBackend::dropout_mask(const Shape& shape, DType dtype, double p, const RandomKey& key) {
  return random("dropout_mask", shape, dtype, key, mask_draw(p));
}

}  // namespace nextgrad::cuda

// Weights as products read them: in the activations' dtype, rows padded to whole packs, times a
// scale. They are kept beside the weights, and all that are out of date are made anew by one
// kernel: the first product after an optimiser's step casts the whole model.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "cuda/kit/runtime.h"
#include "tensor/tensor.h"

namespace nextgrad::cuda {

class Operands {
 public:
  explicit Operands(cudaStream_t stream) : stream_(stream) {}

  // weight [rows, patch] of parameter_dtype(dtype), contiguous, as [rows, size] of `dtype`: zeros
  // behind, row r times s[r] if s is given. The weight itself if that is the same.
  Tensor of(const Tensor& weight, DType dtype, std::int64_t patch, std::int64_t size,
            const Tensor& s = {});
  // Of as many numbers, as they are.
  Tensor of(const Tensor& weight, DType dtype) {
    return of(weight, dtype, weight.numel(), weight.numel());
  }
  // A block goes, and what was made of the weights in it.
  void forget(const void* block);

  // What a capture reads but did not make, which is to be up to date before each of its replays.
  struct Kept;
  using Used = std::vector<std::shared_ptr<Kept>>;
  void begin_capture();
  Used end_capture();
  void refresh(const Used& used);

 private:
  // The weight's block first.
  using Key = std::tuple<const void*, const void*, const void*, DType, std::int64_t, std::int64_t>;
  void make(const Used& all);
  Used outdated() const;

  cudaStream_t stream_;
  std::recursive_mutex mutex_;  // a tensor that goes is forgotten
  std::map<Key, std::shared_ptr<Kept>> kept_;
  bool capturing_ = false;
  Used used_, captured_;  // by the capture: read as they were; made, which does it when replayed
};

}  // namespace nextgrad::cuda

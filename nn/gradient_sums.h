// Data parallel training: gradients summed over all ranks while the backward still makes others.
#pragma once

#include <memory>
#include <vector>

#include "nn/module.h"
#include "tensor/communicator.h"

namespace nextgrad {

//   backward    [head] [stage 4] [stage 3] [stage 2] [stage 1]
//   sums                  [head, 4: a bucket] [3]      [2, 1] | finish()
//
// A parameter joins the open bucket when its gradient is complete; a full bucket is one sum. The
// order is that of the graph, and so the same on all ranks.
class GradientSums {
 public:
  // All must outlive it; `everyone` is that of the parameters' device. A bucket is full with so
  // many bytes.
  GradientSums(std::vector<Parameter> parameters, Communicator& everyone,
               std::int64_t bucket_bytes);
  ~GradientSums();
  GradientSums(const GradientSums&) = delete;
  GradientSums& operator=(const GradientSums&) = delete;

  // Before the last backward of an iteration: those before it only accumulate.
  void begin();
  // After it: the gradients are the sums over all ranks.
  void finish();
  std::int64_t bytes() const { return bytes_; }  // of the latest sums
  std::int64_t buckets() const { return buckets_; }

 private:
  struct Bucket {
    std::vector<std::size_t> members;
    std::vector<std::int64_t> at;  // where each one's gradient begins
    std::int64_t size = 0;
    Tensor numbers;
    std::unique_ptr<Communicator::Pending> sum;
  };
  void add(std::size_t i);
  void send();

  std::vector<Parameter> parameters_;
  Communicator& everyone_;
  std::int64_t bucket_bytes_;
  bool open_ = false;
  std::vector<bool> added_;
  std::vector<Bucket> sent_;
  Bucket filling_;
  std::int64_t bytes_ = 0, buckets_ = 0;
};

}  // namespace nextgrad

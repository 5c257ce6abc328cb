// A few training steps of a whole model, alone or by several ranks: what must come out the same.
#pragma once

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/segmenter.h"
#include "nn/ema.h"
#include "nn/gradient_sums.h"
#include "nn/random.h"
#include "nn/share.h"
#include "tensor/ops.h"

namespace nextgrad::test {

struct ParallelRun {
  std::int64_t batch = 5, accumulate = 2, steps = 3, side = 64;
  DType dtype = DType::f64;
  Device device{};
  bool recompute = false;
  bool bf16 = false;  // activations
  std::int64_t bucket_bytes = 100'000;
  ModelConfig model = model_config("nano", 7);
};

struct ParallelResult {
  std::vector<double> losses, norms;
  std::vector<std::pair<std::string, std::vector<double>>> tensors;  // gradients, weights, ...
};

// Rows of a batch that a share has.
inline Tensor rows_of(const Tensor& all, const Share& share) {
  Shape shape = all.shape();
  shape[0] = share.count();
  Tensor mine = Tensor::empty(shape, all.dtype(), all.device());
  std::int64_t row = 0;
  for (const auto& [begin, end] : share.samples) {
    mine.slice(0, row, row + end - begin).copy_(all.slice(0, begin, end));
    row += end - begin;
  }
  return mine;
}

// Steps of AdamW on made-up images, with drop path, dropout, clipping and averaging.
inline ParallelResult train(Communicator& hosts, const ParallelRun& run) {
  ModelConfig config = run.model;
  config.encoder.drop_path = 0.3;
  config.encoder.recompute = run.recompute;
  config.decoder.dropout = 0.2;
  Segmenter model(config);
  init_parameters(model, 3);
  model.to(run.dtype);
  model.to(run.device);
  if (run.bf16) model.encoder().set_activations(DType::bf16);
  const auto everyone = backend_of(run.device).connect(hosts);
  AdamW optimizer(model.named_parameters(), {.eps = 1e-6, .weight_decay = 0.01}, segmenter_rules());
  WeightAverage average(model, 0.9);
  GradientSums sums(model.named_parameters(), *everyone, run.bucket_bytes);
  const Share share = share_of(*everyone, run.batch);
  const auto part = static_cast<double>(share.count()) / static_cast<double>(share.total);
  ParallelResult result;
  for (std::int64_t i = 0; i < run.steps; ++i) {
    model.zero_grad();
    double loss = 0;
    for (std::int64_t k = 0; k < run.accumulate; ++k) {
      const auto n = static_cast<std::uint64_t>(i * run.accumulate + k);
      const RandomScope random(1, n);
      const ShareScope scope(share);
      const Tensor images = backend_of({}).random_normal({run.batch, run.side, run.side, 3},
                                                         DType::f64, {9, n, 0, 0});
      const Tensor values =
          backend_of({}).random_uniform({run.batch, run.side, run.side}, DType::f64, {9, n, 1, 0});
      const Tensor labels = (values * 7.0).to(DType::i32);
      const Variable logits = model(Variable(rows_of(images, share).to(run.dtype).to(run.device)));
      const Variable value = model.loss(logits, rows_of(labels, share).to(run.device));
      const double weight = part / static_cast<double>(run.accumulate);
      loss += value.item() * weight;
      if (k + 1 == run.accumulate) sums.begin();
      value.backward(Tensor::full({}, weight, value.dtype(), run.device));
    }
    sums.finish();
    Tensor total = Tensor::scalar(loss, DType::f64);
    hosts.sum(total);
    result.losses.push_back(total.item());
    const Tensor norm = grad_norm(model.named_parameters());
    result.norms.push_back(norm.item());
    optimizer.step(1e-3, {norm, 0.5});
    average.update();
  }
  for (const Parameter& p : model.named_parameters()) {
    result.tensors.emplace_back("gradient of " + p.name, p.value.grad().to_vector<double>());
    result.tensors.emplace_back(p.name, p.value.value().to_vector<double>());
  }
  for (const Buffer& b : model.named_buffers())
    result.tensors.emplace_back(b.name, b.value->to_vector<double>());
  for (const auto& [name, value] : average.state())
    result.tensors.emplace_back("average of " + name, value.to_vector<double>());
  return result;
}

struct WorstOfRun {
  double losses = 0, norms = 0, tensors = 0;
  std::string where;  // the tensor
};

// Relative: of a tensor, to its largest number, or to a small step where there is none: what is
// zero but for rounding (the gradient of a bias before batch norm) has no relative error.
inline WorstOfRun worst(const ParallelResult& a, const ParallelResult& b) {
  WorstOfRun w;
  for (std::size_t i = 0; i < a.losses.size(); ++i) {
    w.losses = std::max(w.losses, std::abs(a.losses[i] / b.losses[i] - 1));
    w.norms = std::max(w.norms, std::abs(a.norms[i] / b.norms[i] - 1));
  }
  for (std::size_t t = 0; t < a.tensors.size(); ++t) {
    const auto &x = a.tensors[t].second, &y = b.tensors[t].second;
    double scale = 1e-3, difference = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      scale = std::max(scale, std::abs(y[i]));
      difference = std::max(difference, std::abs(x[i] - y[i]));
    }
    if (difference / scale > w.tensors)
      w.tensors = difference / scale, w.where = a.tensors[t].first;
  }
  return w;
}

}  // namespace nextgrad::test

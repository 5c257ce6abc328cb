// Scores of a model on a data set; train's validation and eval share it.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <vector>

#include "data/dataset.h"
#include "data/metrics.h"
#include "data/transforms.h"
#include "models/segnext.h"

namespace nextgrad {

struct EvalResult {
  ConfusionMatrix matrix;
  struct Picture {
    Sample sample;
    LabelMap prediction;
  };
  std::vector<Picture> pictures;
  bool stopped = false;  // `more` said so: the matrix is incomplete
};

// Class of each pixel of a picture prepared by an EvalTransform, at height x width: the logits are
// upsampled to that size and the largest taken. The model must be in evaluation mode.
LabelMap predict_labels(const SegNeXt& model, const Tensor& input, std::int64_t height,
                        std::int64_t width);

// A picture ready for the network: what other threads make ahead of it.
struct Prepared {
  Sample sample;
  Tensor input;  // on the CPU
};

// Predicts every image at its label's size. Keeps the images numbered in `keep`. more(done) is
// called after each and may stop by false. Pictures are read and prepared ahead, by other threads.
// Leaves the model in the mode it was in.
EvalResult evaluate(SegNeXt& model, const Dataset& dataset, const EvalTransform& transform,
                    const std::set<std::int64_t>& keep,
                    const std::function<bool(std::int64_t)>& more);

}  // namespace nextgrad

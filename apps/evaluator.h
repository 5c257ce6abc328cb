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

// Class of each pixel of `image` as the network sees it through `transform`, at height x width: the
// logits are upsampled to that size and the largest taken. The model must be in evaluation mode.
LabelMap predict_labels(const SegNeXt& model, const EvalTransform& transform, const Image& image,
                        std::int64_t height, std::int64_t width);

// Predicts every image at its label's size. Keeps the images numbered in `keep`. more(done) is
// called after each and may stop by false. Leaves the model in the mode it was in.
EvalResult evaluate(SegNeXt& model, const Dataset& dataset, const EvalTransform& transform,
                    const std::set<std::int64_t>& keep,
                    const std::function<bool(std::int64_t)>& more);

}  // namespace nextgrad

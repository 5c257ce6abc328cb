// Top-1 and top-5 of a classifier on a data set; pretrain's validation and --eval-only share it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/augment/class_transforms.h"
#include "data/datasets/class_dataset.h"
#include "data/scores/class_metrics.h"
#include "models/classifier.h"

namespace nextgrad {

struct ClassExample {
  std::string name;
  Image image;  // as the network saw it, before normalisation
  int label, prediction;
  double confidence;  // of the prediction, by softmax
};

struct ClassEvalResult {
  ClassScores scores;
  std::vector<ClassExample> right, wrong;
  bool stopped = false;  // `more` said so: the scores are incomplete
};

// Scores every picture, `batch` at a time; the figures do not depend on it. Keeps the first picture
// recognised and the first mistaken of up to `examples` classes. more(done) is called after each
// batch and may stop by false. Pictures are read and prepared ahead, by other threads. Leaves the
// model in the mode it was in.
ClassEvalResult evaluate_classes(MSCANClassifier& model, const ClassDataset& dataset,
                                 const ClassEvalTransform& transform, std::int64_t batch,
                                 std::int64_t examples,
                                 const std::function<bool(std::int64_t)>& more);

}  // namespace nextgrad

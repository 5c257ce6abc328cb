// Scores of a model on a data set; the trainings' validations and the commands share it.
#pragma once

#include <cstdint>
#include <functional>
#include <new>
#include <set>
#include <string>
#include <vector>

#include "apps/inference/inference.h"
#include "apps/inference/pipeline.h"
#include "data/augment/class_transforms.h"
#include "data/datasets/dataset.h"
#include "data/scores/metrics.h"
#include "models/classifier.h"
#include "tensor/communicator.h"
#include "tensor/error.h"

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

// A picture ready for the network: what other threads make ahead of it.
struct Prepared {
  Sample sample;
  std::vector<Image> views;
};

// Does work on a picture. Where memory does not suffice, throws OutOfMemory that names the picture
// and the remedy.
template <class Fn>
auto with_memory_for(const std::string& picture, const std::string& remedy, Fn&& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
  } catch (const OutOfMemory&) {
  }
  throw OutOfMemory(fmt::format("{}: out of memory{}", picture, remedy));
}
inline constexpr const char* kReadRemedy =
    " while it was read; make it smaller or cut it into pieces";
std::string network_remedy(const Protocol& protocol);

// Predicts every image at its label's size, each rank its share of them; all have the counts. Root
// keeps the images numbered in `keep`. `more` is called after each, with how many are done and are
// in all (of the other ranks by their shares), and may stop all by false. `ahead` pictures at most
// are read and resized ahead, by other threads. Leaves the model in the mode it was in. Throws
// InputError for a data set without labels.
using More = std::function<bool(std::int64_t done, std::int64_t all)>;
EvalResult evaluate(Segmenter& model, const Dataset& dataset, const Protocol& protocol,
                    const std::set<std::int64_t>& keep, const More& more,
                    Communicator& everyone = world(), std::size_t ahead = kPipelineDepth);

// How many pictures a rank scores together, if all do `batch`.
inline std::int64_t share_of_batch(std::int64_t batch, const Communicator& everyone) {
  return (batch + everyone.size() - 1) / everyone.size();
}

struct ClassExample {
  std::string name;
  Image image;  // as the network saw it, before normalisation
  int label, prediction;
  double confidence;  // of the prediction, by softmax
};

struct ClassEvalResult {
  ClassScores scores;
  std::vector<ClassExample> examples;  // first those that were right
  bool stopped = false;                // `more` said so: the scores are incomplete
};

// Top-1 and top-5 of a classifier: scores every picture, `batch` at a time; the figures do not
// depend on it. Root keeps the first picture recognised and the first mistaken of up to `examples`
// classes. The rest as above; `more` is called after each batch.
ClassEvalResult evaluate_classes(Classifier& model, const ClassDataset& dataset,
                                 const ClassEvalTransform& transform, std::int64_t batch,
                                 std::int64_t examples, const More& more,
                                 Communicator& everyone = world());

}  // namespace nextgrad

// Scores of a model on a data set; train's validation and eval share it.
#pragma once

#include <cstdint>
#include <functional>
#include <new>
#include <set>
#include <string>
#include <vector>

#include "apps/inference/inference.h"
#include "apps/inference/pipeline.h"
#include "data/datasets/dataset.h"
#include "data/scores/metrics.h"
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

// Predicts every image at its label's size. Keeps the images numbered in `keep`. more(done) is
// called after each and may stop by false. `ahead` pictures at most are read and resized ahead, by
// other threads. Leaves the model in the mode it was in. Throws InputError for a data set without
// labels.
EvalResult evaluate(SegNeXt& model, const Dataset& dataset, const Protocol& protocol,
                    const std::set<std::int64_t>& keep,
                    const std::function<bool(std::int64_t)>& more,
                    std::size_t ahead = kPipelineDepth);

}  // namespace nextgrad

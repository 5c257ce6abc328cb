// From a picture to the class of each of its pixels, by the test protocols of the paper: the whole
// picture or a sliding window, at one or several scales, mirrored too. Nothing of the picture's
// size times the classes ever exists: scores are kept at the network's output size, an eighth, and
// brought to the picture's size some rows at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/settings/run_config.h"
#include "data/augment/transforms.h"
#include "models/segmenter.h"
#include "nn/weights_watch.h"

namespace nextgrad {

// A model's logits in evaluation. On a device that can capture work (a CUDA graph), the forward
// pass of an image size that comes again and again is captured and replayed: a small image is then
// not held up by the time that it takes to submit hundreds of kernels. While one lives, the model
// stays in evaluation mode; when its weights change, captures are made anew.
class ModelForward {
 public:
  explicit ModelForward(const Segmenter& model) : model_(model), weights_(model) {}
  // images f32 [N,H,W,3], on any device -> logits f32 [N,h,w,classes] on the model's, at the size
  // of the first stage that its decoder reads.
  Tensor operator()(const Tensor& images);
  const Segmenter& model() const { return model_; }

 private:
  struct Seen {  // images of one size
    int seen = 0;
    Tensor input, logits;  // what the capture reads and writes
    std::unique_ptr<Capture> capture;
  };
  const Segmenter& model_;
  WeightsWatch weights_;  // captures read what was made of them, and kept
  std::map<std::string, Seen> sizes_;
  int captured_ = 0;
};

struct Protocol {
  EvalTransform transform;  // the size of the picture at scale 1
  Size window, stride;      // sliding window; 0: the whole picture at once
  std::vector<double> scales{1.0};
  bool flip = false;       // each scale also mirrored
  std::int64_t batch = 1;  // windows of one row that go through the network together
  // Upsamples the scores to the picture's size in one step; the published pipeline takes two, to
  // the network's input size and from there. Only for the whole picture at one scale; faster.
  bool one_step = false;
  const char* window_option = "--window";  // what users of the command call `window`

  std::size_t views() const { return scales.size() * (flip ? 2 : 1); }
};

struct ProtocolSizes {
  Size size = {}, base = {}, window = {}, stride = {};
  std::int64_t multiple = 32;
};

// One view at scale 1. A window without a stride gets three quarters of it: 768 for 1024, as
// published. Throws InputError for a stride that leaves gaps, naming the two options.
Protocol make_protocol(const ProtocolSizes& sizes, const Normalize& normalize,
                       const char* window_option = "--window",
                       const char* stride_option = "--stride");

// The protocol of a training run's validation.
Protocol val_protocol(const TrainConfig& config);

// The picture at every scale of the protocol: the part of the work that needs no network.
std::vector<Image> resize_views(const Protocol& protocol, const Image& image);

// Class of each pixel at height x width, of a picture prepared by resize_views. As published: where
// windows overlap, logits are averaged; with several views, the classes' probabilities are. The
// model must be in evaluation mode. The result does not depend on `batch`. `progress` is told the
// share that is done.
LabelMap predict_labels(ModelForward& forward, const Protocol& protocol,
                        const std::vector<Image>& views, std::int64_t height, std::int64_t width,
                        const std::function<void(double)>& progress = {});

}  // namespace nextgrad

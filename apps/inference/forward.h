// A model's logits in evaluation. On a device that can record work (a CUDA graph), the forward pass
// of an image size that comes again and again is recorded and replayed: a small image is then not
// held up by the time that it takes to submit hundreds of kernels.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "models/segnext.h"

namespace nextgrad {

// While one lives, the model stays in evaluation mode and its weights where they are.
class ModelForward {
 public:
  explicit ModelForward(const SegNeXt& model) : model_(model) {}
  // images f32 [N,H,W,3], on any device -> logits f32 [N,ceil(H/8),ceil(W/8),classes] on the
  // model's.
  Tensor operator()(const Tensor& images);
  const SegNeXt& model() const { return model_; }

 private:
  struct Size {  // of images
    int seen = 0;
    Tensor input, logits;  // what the capture reads and writes
    std::unique_ptr<Capture> capture;
  };
  const SegNeXt& model_;
  std::map<std::string, Size> sizes_;
  int recorded_ = 0;
};

}  // namespace nextgrad

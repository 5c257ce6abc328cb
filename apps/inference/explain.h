// Where a model looks: what its attention weighs, what its decoder's bases stand for, which pixels
// speak for a class, and which a single pixel's class depends on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/augment/transforms.h"
#include "models/segmenter.h"

namespace nextgrad {

struct HeatMap {  // of the picture, usually coarser; values >= 0
  std::int64_t height = 0, width = 0;
  std::vector<float> values;
};

struct ExplainOptions {
  std::vector<int> classes;  // for Grad-CAM; empty: those that fill the most of the picture
  int stage = 4;             // whose features Grad-CAM weighs
  // Share of the picture from left and top, whose pixel's receptive field is looked at.
  double x = 0.5, y = 0.5;
};

struct Explanation {
  // Of each stage's last block: the factor that the product multiplies its input by, as the root of
  // its mean square over the channels. Empty for an encoder without such a product.
  std::vector<HeatMap> attention;
  // Of the NMF's bases, those of the largest share first (16 at most): how much of each pixel is
  // made of it. `share` of all coefficients.
  struct Basis {
    double share;
    HeatMap coefficients;
  };
  std::vector<Basis> bases;
  int bases_in_all = 0;
  // Grad-CAM (Selvaraju et al. 2017): relu(sum over channels of w A), w the mean gradient of the
  // class's summed logits, where it is predicted, for the stage's features A. If it is predicted
  // nowhere, of its logits everywhere.
  struct Cam {
    int label;
    bool predicted;
    HeatMap map;
  };
  std::vector<Cam> cams;
  int stage = 4;
  // |gradient| of one pixel's logit of its class for the picture's pixels, summed over the colours;
  // within `half` and `most` pixels of it lie 50 and 95 % of the whole (the effective receptive
  // field: Luo et al. 2016).
  struct Field {
    int label;
    std::int64_t x, y;  // in the picture that the network saw
    HeatMap gradient;
    double half, most;
  } field;
};

// Throws InputError for a class that is not there, or a stage that the decoder does not read.
void check_explain(const ExplainOptions& options, const ModelConfig& model);
// Of a picture as the network is to see it, at least 32x32. The model must be in evaluation mode;
// its gradients are lost. Throws as check_explain does.
Explanation explain(Segmenter& model, const Image& picture, const Normalize& normalize,
                    const ExplainOptions& options);

}  // namespace nextgrad
